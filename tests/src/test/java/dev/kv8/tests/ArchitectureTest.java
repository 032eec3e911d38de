package dev.kv8.tests;

import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.classes;
import static com.tngtech.archunit.lang.syntax.ArchRuleDefinition.noClasses;
import static com.tngtech.archunit.library.dependencies.SlicesRuleDefinition.slices;

import com.tngtech.archunit.core.importer.ImportOption;
import com.tngtech.archunit.junit.AnalyzeClasses;
import com.tngtech.archunit.junit.ArchTest;
import com.tngtech.archunit.lang.ArchRule;

/** Which package may know which: the order of the rooms in the design. */
@AnalyzeClasses(packages = "dev.kv8", importOptions = ImportOption.DoNotIncludeTests.class)
class ArchitectureTest {
    private static final String CORE = "dev.kv8";
    private static final String NATIVES = "dev.kv8.natives..";
    private static final String ENGINE = "dev.kv8.llm..";
    private static final String SERVER = "dev.kv8.server..";
    private static final String CLI = "dev.kv8.cli..";

    @ArchTest
    static final ArchRule the_core_stands_on_the_jdk_alone = classes()
            .that()
            .resideInAPackage(CORE)
            .should()
            .onlyDependOnClassesThat()
            .resideInAnyPackage(CORE, "java..", "jdk.jfr", "org.jspecify.annotations")
            .because("dev.kv8 reaches kernels through KvBackend only and has no run-time dependency");

    @ArchTest
    static final ArchRule natives_know_neither_the_engine_nor_the_command = noClasses()
            .that()
            .resideInAPackage(NATIVES)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(ENGINE, SERVER, CLI);

    @ArchTest
    static final ArchRule the_engine_reaches_kernels_through_the_public_door = noClasses()
            .that()
            .resideInAPackage(ENGINE)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(NATIVES, SERVER, CLI);

    @ArchTest
    static final ArchRule the_server_is_one_more_user_of_the_engine = noClasses()
            .that()
            .resideInAPackage(SERVER)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(NATIVES, CLI);

    @ArchTest
    static final ArchRule the_command_knows_no_bindings = noClasses()
            .that()
            .resideInAPackage(CLI)
            .should()
            .dependOnClassesThat()
            .resideInAnyPackage(
                    "dev.kv8.natives.abi..",
                    "dev.kv8.natives.preset..",
                    "org.bytedeco..",
                    "ai.djl..",
                    "java.lang.foreign..");

    @ArchTest
    static final ArchRule packages_form_no_cycle =
            slices().matching("dev.kv8.(*)..").should().beFreeOfCycles();

    @ArchTest
    static final ArchRule only_the_command_ends_the_process_or_prints = noClasses()
            .that()
            .resideOutsideOfPackage(CLI)
            .should()
            .callMethod(System.class, "exit", int.class)
            .orShould()
            .accessField(System.class, "out")
            .orShould()
            .accessField(System.class, "err");
}

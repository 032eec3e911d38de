package dev.kv8.tests;

import static dev.kv8.tests.Command.kv8;
import static dev.kv8.tests.Command.kv8InNewJvm;
import static org.assertj.core.api.Assertions.assertThat;

import java.util.List;
import org.junit.jupiter.api.Test;

class DoctorCommandTest {
    @Test
    void the_report_names_each_backend_and_the_one_in_use() {
        Json report = kv8("doctor", "--json").succeeds().json();
        assertThat(report.get("selected").text()).isEqualTo("cpu");
        assertThat(report.get("backends").list())
                .extracting(backend -> backend.get("name").text())
                .containsExactlyInAnyOrder("cuda", "rocm", "cpu");
        Json cpu = backend(report, "cpu");
        assertThat(cpu.get("works").isTrue()).isTrue();
        assertThat(cpu.get("device").get("name").text()).isNotBlank();
        assertThat(cpu.get("device").get("dtypes").list())
                .extracting(Json::text)
                .contains("float32", "bfloat16", "e4m3fn", "e5m2");
        assertThat(backend(report, "cuda").get("outcome").text()).isNotBlank().isNotEqualTo("works");
    }

    @Test
    void people_read_the_same() {
        String text = kv8("doctor").succeeds().out();
        assertThat(text).startsWith("kv8  ").contains("\nbackend cpu    works: ", "\nin use         cpu");
    }

    @Test
    void a_named_backend_that_does_not_work_is_a_failure_with_a_report() throws Exception {
        Command doctor = kv8InNewJvm(List.of("-Dkv.backend=cuda"), "doctor", "--json");
        assertThat(doctor.exitCode()).as(doctor.err()).isEqualTo(1);
        assertThat(doctor.json().get("requested").text()).isEqualTo("cuda");
        assertThat(backend(doctor.json(), "cpu").get("works").isTrue()).isTrue();
    }

    @Test
    void the_emulator_is_named_when_it_is_asked_for_and_its_device_described() throws Exception {
        Command doctor =
                kv8InNewJvm(Emulator.options("sm_90"), "doctor", "--json").succeeds();
        assertThat(doctor.json().get("selected").text()).isEqualTo("emulator");
        Json emulator = backend(doctor.json(), "emulator");
        assertThat(emulator.get("devices").list()).hasSize(1);
        Json device = emulator.get("devices").list().get(0);
        assertThat(device.get("ordinal").number()).isZero();
        assertThat(device.get("works").isTrue()).isTrue();
        assertThat(device.get("arch").text()).isEqualTo("sm_90");
        assertThat(device.get("driver").text()).isNotBlank();
        assertThat(device.get("native_fp8").list()).extracting(Json::text).containsExactly("e4m3fn", "e5m2");

        Command people = kv8InNewJvm(Emulator.options("sm_90"), "doctor").succeeds();
        assertThat(people.out())
                .contains("\nbackend emulator works: ", ", sm_90, driver ", "\nin use         emulator");
    }

    private static Json backend(Json report, String name) {
        return report.get("backends").list().stream()
                .filter(backend -> backend.get("name").text().equals(name))
                .findFirst()
                .orElseThrow();
    }
}

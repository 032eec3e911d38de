# The GPU kernels' modules, and plug-ins made of them. A module is one kernel file compiled on its own; attention is compiled
# once for each head size, which spares the compilers' time where only some are touched.

set(KV8_GPU_SOURCES ${PROJECT_SOURCE_DIR}/gpu CACHE PATH "The kernels' folder, named gpu: a changed copy, to test the tests")

# The longest to compile come first.
set(KV8_KERNEL_MODULES "")
foreach(head_size 256 192 128 112 96 80 64)
  list(APPEND KV8_KERNEL_MODULES attention_d${head_size})
endforeach()
list(APPEND KV8_KERNEL_MODULES attention_precise cache_rows cast engine sampling merge)

# kv8_kernel_source(MODULE FOLDER SOURCE DEFINITIONS): sets SOURCE to the module's file below FOLDER, and DEFINITIONS to the
# macros that it is compiled with.
function(kv8_kernel_source module folder source definitions)
  set(file ${module})
  set(macros KV8_MODULE=${module})
  if(module MATCHES "^attention_d([0-9]+)$")
    set(file attention)
    list(APPEND macros KV8_HEAD_SIZE=${CMAKE_MATCH_1})
  endif()
  set(${source} ${folder}/kernels/${file}.cpp PARENT_SCOPE)
  set(${definitions} ${macros} PARENT_SCOPE)
endfunction()

# kv8_gpu_plugin(TARGET SOURCES...): a plug-in on the host side that all GPUs share. It exports its entry alone, and needs
# no libraries but the C library's and the compiler's own.
function(kv8_gpu_plugin target)
  add_library(${target} MODULE $<TARGET_OBJECTS:kv8_gpu_host> ${ARGN})
  set(exports ${PROJECT_SOURCE_DIR}/gpu/plugin.exports)
  target_link_options(${target} PRIVATE -Wl,--version-script=${exports} -Wl,-z,defs)
  set_property(TARGET ${target} PROPERTY LINK_DEPENDS ${exports})
  target_link_libraries(${target} PRIVATE Threads::Threads ${CMAKE_DL_LIBS})
  if(NOT KV8_SANITIZE)
    # Unused parts of libstdc++ would need glibc 2.36, a static libgcc's unwinder 2.35; every JVM with kv8 has libgcc_s.
    target_link_options(${target} PRIVATE -static-libstdc++ -Wl,--gc-sections $<$<CONFIG:Release>:-Wl,--strip-all>)
  endif()
endfunction()

# kv8_embed_images(TARGET ALIGNMENT ARCHITECTURES IMAGES...): adds compiled kernels to a plug-in, behind gpu/host/images.h.
# IMAGES are triples: a module, an architecture (- where the image holds all of them), a file. ARCHITECTURES is for messages.
function(kv8_embed_images target alignment architectures)
  set(assembler ".section .rodata\n")
  set(symbols "")
  set(table "")
  set(files "")
  set(images ${ARGN})
  set(number 0)
  while(images)
    list(POP_FRONT images module arch file)
    string(REPLACE "-" "" arch "${arch}")
    set(name kv8_image_${number})
    string(APPEND assembler ".balign ${alignment}\n.hidden ${name}, ${name}_end\n.globl ${name}, ${name}_end\n"
      "${name}: .incbin \"${file}\"\n${name}_end:\n")
    string(APPEND symbols "extern const unsigned char ${name}[], ${name}_end[];\n")
    string(APPEND table "    {\"${module}\", \"${arch}\", ${name}, ${name}_end},\n")
    list(APPEND files ${file})
    math(EXPR number "${number} + 1")
  endwhile()
  string(APPEND assembler ".section .note.GNU-stack, \"\", @progbits\n")
  set(source "#include \"gpu/host/images.h\"\n\nextern \"C\" {\n${symbols}}\n\nnamespace kv8::gpu {\n\n")
  string(APPEND source "static const EmbeddedImage kImages[] = {\n${table}};\n\n"
    "Images images() { return {kImages, kImages + ${number}, \"${architectures}\"}; }\n\n}  // namespace kv8::gpu\n")
  set(stem ${CMAKE_CURRENT_BINARY_DIR}/${target}_images)
  file(CONFIGURE OUTPUT ${stem}.S CONTENT "${assembler}" @ONLY)
  file(CONFIGURE OUTPUT ${stem}.cpp CONTENT "${source}" @ONLY)
  list(REMOVE_DUPLICATES files)
  set_source_files_properties(${stem}.S PROPERTIES OBJECT_DEPENDS "${files}")
  add_custom_target(${target}_kernels DEPENDS ${files})
  add_dependencies(${target} ${target}_kernels)
  target_sources(${target} PRIVATE ${stem}.S ${stem}.cpp)
endfunction()

# kv8_embed_placeholders(TARGET ARCHITECTURES...): images without code in place of compiled kernels: enough for the tests of
# the host side, whose stub drivers look at names only.
function(kv8_embed_placeholders target)
  set(file ${CMAKE_CURRENT_BINARY_DIR}/placeholder)
  file(CONFIGURE OUTPUT ${file} CONTENT "a kernel that was not compiled\n")
  set(images "")
  foreach(arch ${ARGN})
    foreach(module ${KV8_KERNEL_MODULES})
      list(APPEND images ${module} ${arch} ${file})
    endforeach()
  endforeach()
  kv8_embed_images(${target} 64 "none: built without kernels" ${images})
endfunction()

# kv8_install_plugin(TARGET SHIPPED): installs a plug-in where the jars are made from; one that is not shipped any more is
# removed from there.
function(kv8_install_plugin target shipped)
  if(shipped)
    install(TARGETS ${target} LIBRARY DESTINATION plugins)
  else()
    install(CODE "file(REMOVE \"\${CMAKE_INSTALL_PREFIX}/plugins/${CMAKE_SHARED_MODULE_PREFIX}${target}.so\")")
  endif()
endfunction()

# kv8_wants(SETTING REASON RESULT): whether a vendor's kernels are to be compiled. SETTING: AUTO, ON or OFF; REASON: why they
# cannot be, or nothing.
function(kv8_wants setting reason result)
  set(${result} OFF PARENT_SCOPE)
  if(NOT ${setting} OR NOT KV8_VENDOR_KERNELS)
    return()
  endif()
  if(NOT CMAKE_SYSTEM_PROCESSOR MATCHES "x86_64|AMD64")
    set(reason "GPU plug-ins are built for x86-64 only.")
  endif()
  if(NOT reason)
    set(${result} ON PARENT_SCOPE)
  elseif("${${setting}}" STREQUAL AUTO)
    message(STATUS "${setting}: left out. ${reason}")
  else()
    message(FATAL_ERROR "${setting}=${${setting}}: ${reason}")
  endif()
endfunction()

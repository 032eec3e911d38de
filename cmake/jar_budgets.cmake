# Fails when a jar is larger than its budget: cmake -P jar_budgets.cmake <jar> <KiB> [<jar> <KiB> ...]. A jar that was not made
# is passed over.
set(at 3)
while(at LESS CMAKE_ARGC)
  math(EXPR next "${at} + 1")
  set(jar ${CMAKE_ARGV${at}})
  set(budget ${CMAKE_ARGV${next}})
  if(EXISTS ${jar})
    file(SIZE ${jar} bytes)
    math(EXPR kib "(${bytes} + 1023) / 1024")
    cmake_path(GET jar FILENAME name)
    if(kib GREATER budget)
      message(FATAL_ERROR "${name} has ${kib} KiB; its budget is ${budget} KiB. Make it smaller, or raise the budget in "
                          "java/kv8-native/pom.xml and the size in README.md.")
    endif()
    message(STATUS "${name}: ${kib} KiB of ${budget}")
  endif()
  math(EXPR at "${at} + 2")
endwhile()

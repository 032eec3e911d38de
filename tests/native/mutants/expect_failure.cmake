# Runs a suite that has to find a fault: cmake -DSUITE=PATH -DFILTER=GTEST_FILTER -P expect_failure.cmake. A suite that ends
# without a failed test of its own (none was run, or the plug-in did not open) does not count.
execute_process(COMMAND ${SUITE} --gtest_fail_fast --gtest_brief=1 --gtest_filter=${FILTER}
                OUTPUT_VARIABLE output ERROR_VARIABLE output)
message("${output}")
if(NOT output MATCHES "\\[  FAILED  \\] [^\n]+\\.")
  message(FATAL_ERROR "The suite did not see the bug.")
endif()

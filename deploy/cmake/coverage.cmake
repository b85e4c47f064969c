# Builds that watch the tests: which lines they reach (deploy/coverage), and what their threads do (tests/e2e/threads.sh).
option(TB_COVERAGE "count the lines that are reached, with gcov" OFF)
if(TB_COVERAGE)
  target_compile_options(tb_flags INTERFACE --coverage)
  target_link_options(tb_flags INTERFACE --coverage -Wl,-u,__gcov_dump)
endif()

option(TB_THREAD_SANITIZE "build everything with ThreadSanitizer" OFF)
if(TB_THREAD_SANITIZE)
  target_compile_options(tb_flags INTERFACE -fsanitize=thread -fno-omit-frame-pointer)
  target_link_options(tb_flags INTERFACE -fsanitize=thread)
endif()

# Plain programs: Criterion can't start under ThreadSanitizer.
foreach(program threads real)
  add_executable(publisher-${program} tests/fault/publisher_${program}.c)
  target_include_directories(publisher-${program} PRIVATE ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(publisher-${program} PRIVATE tb tb_warnings)
  set_target_properties(publisher-${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
endforeach()
add_test(NAME fault/publisher_threads COMMAND publisher-threads 2)

# tests/fault/hostile.c: what tests/e2e/hostile.sh sends at a running instance.
add_executable(tb-hostile tests/fault/hostile.c)
set_target_properties(tb-hostile PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_include_directories(tb-hostile PRIVATE ${CMAKE_SOURCE_DIR})
target_link_libraries(tb-hostile PRIVATE tb tb_warnings)

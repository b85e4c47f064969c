# tests/fault/far_engine.c: the engine of tests/e2e/hosts.sh, which is on another host than the broker.
add_executable(tb-far-engine tests/fault/far_engine.c)
set_target_properties(tb-far-engine PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(tb-far-engine PRIVATE tb tb_warnings)

# tests/fault/soak_engine.c: the engine of tests/e2e/soak.sh, which may be killed at any moment.
add_executable(tb-soak-engine tests/fault/soak_engine.c)
set_target_properties(tb-soak-engine PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(tb-soak-engine PRIVATE tb tb_warnings)

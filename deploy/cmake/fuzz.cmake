# tests/fuzz: one target a reader of bytes. In each build a program that replays the target's corpus and simple changes to
# it; with TB_FUZZ, which needs clang, one that libFuzzer drives. deploy/fuzz builds and runs those.
option(TB_FUZZ "build the fuzz targets with libFuzzer" OFF)
if(TB_FUZZ)
  if(NOT CMAKE_C_COMPILER_ID MATCHES "Clang")
    message(FATAL_ERROR "TB_FUZZ needs clang: CC=clang cmake …")
  endif()
  target_compile_options(tb_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()

set(TB_FUZZ_TARGETS frame event line control chunk chunk_body segment object manifest keys hosts options text question input gaps
  journal broker_replay broker outbox pump)
set(TB_FUZZ_CORES tbbroker tb-sealer-core tb-signal-core tb-command-core)
add_custom_target(fuzz-targets)
foreach(target ${TB_FUZZ_TARGETS})
  add_executable(fuzz-${target} tests/fuzz/${target}.c)
  target_include_directories(fuzz-${target} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
  target_link_libraries(fuzz-${target} PRIVATE ${TB_FUZZ_CORES} tb tb_warnings)
  set_target_properties(fuzz-${target} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  add_dependencies(fuzz-targets fuzz-${target})
  if(TB_FUZZ)
    target_link_options(fuzz-${target} PRIVATE -fsanitize=fuzzer)
  else()
    target_sources(fuzz-${target} PRIVATE tests/fuzz/replay.c)
    add_test(NAME fuzz/${target} COMMAND fuzz-${target} ${CMAKE_SOURCE_DIR}/tests/fuzz/corpus/${target})
    set_tests_properties(fuzz/${target} PROPERTIES TIMEOUT 240)
  endif()
endforeach()

# Makes the seeds in tests/fuzz/corpus anew: build/tests/make-corpus tests/fuzz/corpus
add_executable(make-corpus tests/fuzz/make_corpus.c)
target_include_directories(make-corpus PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests)
target_link_libraries(make-corpus PRIVATE tbbroker tb tb_warnings)
set_target_properties(make-corpus PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)

# tests/sim: the simulator. tb-sim runs the product as it is; tb-sim-planted holds the same sources compiled again with
# the bugs of libtb/base/planted.h, one of which is awake. Built when asked for (`ninja sim`); deploy/sim runs both.
file(GLOB SIM_SOURCES CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/tests/sim/*.c)
set(SIM_CORES tbbroker tb-collector-core tb-sealer-core tb-storer-core tb-signal-core)
add_custom_target(sim)

add_executable(tb-sim EXCLUDE_FROM_ALL ${SIM_SOURCES})
target_link_libraries(tb-sim PRIVATE ${SIM_CORES} tb tb_warnings)
add_executable(tb-sim-planted EXCLUDE_FROM_ALL ${SIM_SOURCES} ${TB_SOURCES} ${BROKER_SOURCES} $<TARGET_OBJECTS:tb_proto>)
foreach(worker collector sealer storer signal)
  file(GLOB sources CONFIGURE_DEPENDS ${CMAKE_SOURCE_DIR}/workers/${worker}/*.c)
  list(FILTER sources EXCLUDE REGEX "/main\\.c$")
  target_sources(tb-sim-planted PRIVATE ${sources})
endforeach()
target_compile_definitions(tb-sim-planted PRIVATE TB_PLANT)
target_link_libraries(tb-sim-planted PRIVATE tb_flags tb_warnings nng::nng PkgConfig::DEPS ${LMDB_LIBRARY} Threads::Threads m)
add_dependencies(tb-sim-planted tb_proto)
foreach(program tb-sim tb-sim-planted)
  set_target_properties(${program} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
  target_include_directories(${program} PRIVATE ${CMAKE_SOURCE_DIR} ${CMAKE_SOURCE_DIR}/tests ${CMAKE_SOURCE_DIR}/libtb
    ${CMAKE_SOURCE_DIR}/libtb/include ${CMAKE_SOURCE_DIR}/proto ${TB_PROTO_DIR})
  add_dependencies(sim ${program})
endforeach()

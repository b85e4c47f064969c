# What is installed: programs, libtb (shared for others, static for whoever wants it), headers, manual, completion, docs;
# and the Debian package of the same. `ninja installable` builds all of it, `cmake --install` puts it there.
include(GNUInstallDirs)
include(CMakePackageConfigHelpers)

# libtb.so: the objects of the static library, of which only what tb/*.h declares is to be seen.
set(TB_SOVERSION 0)
set_target_properties(tb PROPERTIES POSITION_INDEPENDENT_CODE ON)
target_compile_options(tb PRIVATE -fno-semantic-interposition)
add_library(tb_shared SHARED $<TARGET_OBJECTS:tb> $<TARGET_OBJECTS:tb_proto>)
target_link_libraries(tb_shared PRIVATE tb_flags nng::nng PkgConfig::DEPS ${LMDB_LIBRARY} Threads::Threads m)
target_link_options(tb_shared PRIVATE -Wl,--version-script=${CMAKE_SOURCE_DIR}/libtb/libtb.map -Wl,--no-undefined-version
  $<$<NOT:$<OR:$<BOOL:${TB_SANITIZE}>,$<BOOL:${TB_FUZZ}>>>:-Wl,-z,defs>)
target_include_directories(tb_shared INTERFACE $<INSTALL_INTERFACE:${CMAKE_INSTALL_INCLUDEDIR}>)
set_target_properties(tb_shared PROPERTIES OUTPUT_NAME tb EXPORT_NAME tb LINKER_LANGUAGE C
  VERSION ${PROJECT_VERSION} SOVERSION ${TB_SOVERSION} LINK_DEPENDS ${CMAKE_SOURCE_DIR}/libtb/libtb.map)

install(TARGETS tb_shared EXPORT TradebankTargets LIBRARY DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(TARGETS tb ARCHIVE DESTINATION ${CMAKE_INSTALL_LIBDIR})
install(DIRECTORY libtb/include/tb DESTINATION ${CMAKE_INSTALL_INCLUDEDIR} FILES_MATCHING PATTERN "*.h")

# For who builds against it: pkg-config, and find_package(Tradebank), which gives Tradebank::tb.
file(RELATIVE_PATH TB_PC_PREFIX /${CMAKE_INSTALL_LIBDIR}/pkgconfig /)
string(REGEX REPLACE "/$" "" TB_PC_PREFIX ${TB_PC_PREFIX})
configure_file(libtb/tradebank.pc.in tradebank.pc @ONLY)
install(FILES ${CMAKE_BINARY_DIR}/tradebank.pc DESTINATION ${CMAKE_INSTALL_LIBDIR}/pkgconfig)
set(TB_CMAKE_DIR ${CMAKE_INSTALL_LIBDIR}/cmake/Tradebank)
configure_package_config_file(deploy/cmake/TradebankConfig.cmake.in TradebankConfig.cmake
  INSTALL_DESTINATION ${TB_CMAKE_DIR} NO_SET_AND_CHECK_MACRO)
write_basic_package_version_file(TradebankConfigVersion.cmake COMPATIBILITY SameMinorVersion)
install(FILES ${CMAKE_BINARY_DIR}/TradebankConfig.cmake ${CMAKE_BINARY_DIR}/TradebankConfigVersion.cmake
  DESTINATION ${TB_CMAKE_DIR})
install(EXPORT TradebankTargets NAMESPACE Tradebank:: DESTINATION ${TB_CMAKE_DIR})

# Manual and completion, from the tables of options.
file(GLOB TB_MANUAL_SOURCES CONFIGURE_DEPENDS workers/tb/manual/*.c)
add_executable(tb-manual ${TB_MANUAL_SOURCES})
set_target_properties(tb-manual PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${CMAKE_BINARY_DIR}/tests)
target_link_libraries(tb-manual PRIVATE tb-command-core tb-collector-core tb-sealer-core tb-storer-core tb-signal-core
  tbbroker tb tb_warnings)
set(TB_PROGRAMS tb tb-broker tb-collector tb-sealer tb-signal tb-storer)
set(TB_SHARE ${CMAKE_BINARY_DIR}/share)
list(TRANSFORM TB_PROGRAMS REPLACE "(.+)" "${TB_SHARE}/man/\\1.1" OUTPUT_VARIABLE TB_PAGES)
set(TB_COMPLETION ${TB_SHARE}/completion/tb)
set(TB_FUNCTIONS ${CMAKE_SOURCE_DIR}/workers/tb/manual/completion.bash)
file(MAKE_DIRECTORY ${TB_SHARE}/man ${TB_SHARE}/completion)
add_custom_command(OUTPUT ${TB_PAGES} ${TB_SHARE}/man/tb.yaml.5 ${TB_COMPLETION}
  COMMAND ${CMAKE_COMMAND} -E env ASAN_OPTIONS=detect_leaks=0 $<TARGET_FILE:tb-manual> pages ${TB_SHARE}/man
  COMMAND ${CMAKE_COMMAND} -E env ASAN_OPTIONS=detect_leaks=0 $<TARGET_FILE:tb-manual> bash > ${TB_COMPLETION}
  COMMAND ${CMAKE_COMMAND} -E cat ${TB_FUNCTIONS} >> ${TB_COMPLETION}
  DEPENDS tb-manual ${TB_FUNCTIONS} VERBATIM)
add_custom_target(manual ALL DEPENDS ${TB_PAGES} ${TB_SHARE}/man/tb.yaml.5 ${TB_COMPLETION})
install(FILES ${TB_PAGES} DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES ${TB_SHARE}/man/tb.yaml.5 DESTINATION ${CMAKE_INSTALL_MANDIR}/man5)
set(TB_COMPLETION_DIR ${CMAKE_INSTALL_DATADIR}/bash-completion/completions)
install(FILES ${TB_COMPLETION} DESTINATION ${TB_COMPLETION_DIR})
foreach(program ${TB_PROGRAMS})
  if(NOT program STREQUAL "tb") # bash looks for a file of the command's name
    file(CREATE_LINK tb ${TB_SHARE}/completion/${program} SYMBOLIC)
    install(FILES ${TB_SHARE}/completion/${program} DESTINATION ${TB_COMPLETION_DIR})
  endif()
endforeach()

install(FILES README.md DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY docs/ DESTINATION ${CMAKE_INSTALL_DOCDIR})
install(DIRECTORY deploy/calendars/ DESTINATION ${CMAKE_INSTALL_DATADIR}/tradebank/calendars)
install(DIRECTORY proto/ DESTINATION ${CMAKE_INSTALL_DATADIR}/tradebank/proto)

add_custom_target(installable)
add_dependencies(installable tb-broker tb-collector tb-sealer tb-storer tb-signal tb-command tb tb_shared manual)

# The Debian package; deploy/package makes it.
set(TB_PACKAGE_CONTACT "Tradebank maintainers <root@localhost>" CACHE STRING "maintainer of the Debian package")
set(CPACK_GENERATOR DEB)
set(CPACK_PACKAGE_NAME tradebank)
set(CPACK_PACKAGE_CONTACT ${TB_PACKAGE_CONTACT})
set(CPACK_PACKAGE_DESCRIPTION_SUMMARY "continuous, verifiable backup for trading engines")
set(CPACK_DEBIAN_PACKAGE_DESCRIPTION "Engines publish their events; what was accepted survives crashes, is sealed to keys
that the machines storing it do not have, and can be brought back to any single
event. Programs, library and headers.")
set(CPACK_PACKAGING_INSTALL_PREFIX /usr)
set(CPACK_PACKAGE_DIRECTORY ${CMAKE_BINARY_DIR}/package)
set(CPACK_STRIP_FILES ON)
set(CPACK_DEBIAN_FILE_NAME DEB-DEFAULT)
set(CPACK_DEBIAN_PACKAGE_SECTION database)
set(CPACK_DEBIAN_PACKAGE_DEPENDS tzdata) # zones of market calendars
set(CPACK_DEBIAN_PACKAGE_SHLIBDEPS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS ON)
set(CPACK_DEBIAN_PACKAGE_GENERATE_SHLIBS_POLICY ">=")
set(CPACK_DEBIAN_PACKAGE_CONTROL_STRICT_PERMISSION ON)
include(CPack)

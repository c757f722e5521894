# The wattlaw program, its manual pages and completion (both written by the program itself, from
# the same tables as --help), and what `install` puts where.
wattlaw_sources(cli cli_sources)
add_executable(wattlaw ${cli_sources})
wattlaw_include_dir(cli include_dir)
target_include_directories(wattlaw PRIVATE "${include_dir}")
target_compile_options(wattlaw PRIVATE ${WATTLAW_CFLAGS})
target_compile_definitions(wattlaw PRIVATE WATTLAW_VERSION="${PROJECT_VERSION}")
target_link_options(wattlaw PRIVATE ${WATTLAW_LDFLAGS})
target_link_libraries(wattlaw PRIVATE wl_account wl_measure wl_report wl_plan wl_eval wl_image wl_store wl_catalog wl_engine wl_sampler
  wl_meter wl_record wl_stats wl_series wl_os wl_base PkgConfig::POPT)
set_target_properties(wattlaw PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")
add_dependencies(wattlaw wattlaw-engine)

add_custom_command(
  OUTPUT "${CMAKE_BINARY_DIR}/generated/stamp"
  COMMAND ${CMAKE_COMMAND} -E make_directory "${CMAKE_BINARY_DIR}/generated/man"
  COMMAND wattlaw generate man "${CMAKE_BINARY_DIR}/generated/man"
  COMMAND wattlaw generate completion "${CMAKE_BINARY_DIR}/generated"
  COMMAND ${CMAKE_COMMAND} -E touch "${CMAKE_BINARY_DIR}/generated/stamp"
  DEPENDS wattlaw VERBATIM)
add_custom_target(manual ALL DEPENDS "${CMAKE_BINARY_DIR}/generated/stamp")

install(TARGETS wattlaw RUNTIME DESTINATION ${CMAKE_INSTALL_BINDIR})
install(DIRECTORY "${CMAKE_BINARY_DIR}/generated/man/" DESTINATION ${CMAKE_INSTALL_MANDIR}/man1)
install(FILES "${CMAKE_BINARY_DIR}/generated/wattlaw.bash"
  DESTINATION ${CMAKE_INSTALL_DATADIR}/bash-completion/completions RENAME wattlaw)
install(FILES "${CMAKE_BINARY_DIR}/generated/_wattlaw"
  DESTINATION ${CMAKE_INSTALL_DATADIR}/zsh/site-functions)

# What comes with the program: the built-in models and their task files, found from bin/ as
# ../share/wattlaw/{models,tasks,recipe}, in the build tree as well.
file(MAKE_DIRECTORY "${CMAKE_BINARY_DIR}/share/wattlaw")
foreach(pair "builtin;models" "tasks;tasks" "recipe;recipe")
  list(GET pair 0 source)
  list(GET pair 1 name)
  if(NOT EXISTS "${CMAKE_BINARY_DIR}/share/wattlaw/${name}")
    file(CREATE_LINK "${CMAKE_SOURCE_DIR}/models/${source}"
         "${CMAKE_BINARY_DIR}/share/wattlaw/${name}" SYMBOLIC)
  endif()
  install(DIRECTORY "${CMAKE_SOURCE_DIR}/models/${source}/"
    DESTINATION "${CMAKE_INSTALL_DATADIR}/wattlaw/${name}")
endforeach()

# wattlaw-compressor: makes a smaller model out of a GGUF file. A program of its own beside
# wattlaw-engine, because it brings linear algebra along, whose threads and buffers must not be in
# the process that is measured. Built as the engine is, with the engine's own sources that it names.
wattlaw_sources(compress compress_sources)
wattlaw_sources(compressor compressor_sources)
set(compressor_parts backends frame_io gguf_file interrupt log utf8)
list(TRANSFORM compressor_parts PREPEND "${CMAKE_SOURCE_DIR}/src/worker/")
list(TRANSFORM compressor_parts APPEND ".c")

function(wattlaw_compressor_program name)
  add_executable(${name} ${ARGN} ${compressor_parts} ${compress_sources} ${base_sources}
                 ${os_sources} "${CMAKE_SOURCE_DIR}/src/engine/protocol.c")
  foreach(folder base os compress engine worker compressor)
    wattlaw_include_dir(${folder} include_dir)
    target_include_directories(${name} PRIVATE "${include_dir}")
  endforeach()
  target_compile_definitions(${name} PRIVATE
    _GNU_SOURCE WATTLAW_VERSION="${PROJECT_VERSION}"
    WATTLAW_ENGINE_BACKENDS_DIR="${WATTLAW_ENGINE_BACKENDS_DIR}")
  target_compile_options(${name} PRIVATE ${WATTLAW_ENGINE_OWN_CFLAGS} ${WATTLAW_ENGINE_CFLAGS}
                         ${WATTLAW_ENGINE_LAPACK_CFLAGS})
  target_link_options(${name} PRIVATE ${WATTLAW_LDFLAGS} ${WATTLAW_ENGINE_LDFLAGS})
  target_link_libraries(${name} PRIVATE ${WATTLAW_ENGINE_LIBS} ${WATTLAW_ENGINE_LAPACK_LIBS})
  set_target_properties(${name} PROPERTIES SKIP_BUILD_RPATH ON)
endfunction()

wattlaw_compressor_program(wattlaw-compressor ${compressor_sources})
set_target_properties(wattlaw-compressor PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin")

# Installed beside the engine, whose private libraries it shares; linear algebra comes with it.
install(TARGETS wattlaw-compressor RUNTIME DESTINATION "${CMAKE_INSTALL_LIBDIR}/wattlaw")
if(WATTLAW_ENGINE_PRIVATE)
  install(FILES ${WATTLAW_ENGINE_RUNTIME_LAPACK_LIBS}
    DESTINATION "${CMAKE_INSTALL_LIBDIR}/wattlaw")
  get_filename_component(loader "${WATTLAW_ENGINE_DYNAMIC_LINKER}" NAME)
  install(CODE "
    set(dir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/wattlaw\")
    set(compressor \"\$ENV{DESTDIR}\${dir}/wattlaw-compressor\")
    execute_process(COMMAND patchelf --set-interpreter \"\${dir}/${loader}\"
      --force-rpath --set-rpath \"\\\$ORIGIN\" \"\${compressor}\" COMMAND_ERROR_IS_FATAL ANY)")
endif()

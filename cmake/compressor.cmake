# wattlaw-compressor: makes a smaller model out of a GGUF file. A program of its own beside
# wattlaw-engine, because it brings linear algebra along, whose threads and buffers must not be in
# the process that is measured. Built as the engine is, with the engine's own sources that it names.
wattlaw_sources(compress compress_sources)
wattlaw_sources(compressor compressor_sources)
list(FILTER compressor_sources EXCLUDE REGEX "/main\\.c$")
add_library(wl_compressor_side STATIC ${compressor_sources} ${compress_sources})
foreach(folder compress compressor)
  wattlaw_include_dir(${folder} include_dir)
  target_include_directories(wl_compressor_side PUBLIC "${include_dir}")
endforeach()
target_compile_options(wl_compressor_side PUBLIC ${WATTLAW_ENGINE_LAPACK_CFLAGS})
target_link_libraries(wl_compressor_side PUBLIC wl_engine_side ${WATTLAW_ENGINE_LAPACK_LIBS})

add_executable(wattlaw-compressor "${CMAKE_SOURCE_DIR}/src/compressor/main.c")
target_link_libraries(wattlaw-compressor PRIVATE wl_compressor_side)
set_target_properties(wattlaw-compressor PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin" SKIP_BUILD_RPATH ON)

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

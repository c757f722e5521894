# wattlaw-engine: the only program that knows llama.cpp. Where the system has no libllama it is
# compiled against the private sysroot that tools/setup made (.deps/engine.cmake says how), with
# its own copies of base, os, image and the protocol, because that sysroot has its own C library.
set(WATTLAW_ENGINE_CONFIG "${CMAKE_SOURCE_DIR}/.deps/engine.cmake" CACHE FILEPATH
    "Written by tools/setup")
if(NOT EXISTS "${WATTLAW_ENGINE_CONFIG}")
  message(FATAL_ERROR "${WATTLAW_ENGINE_CONFIG} is missing: run tools/setup first")
endif()
include("${WATTLAW_ENGINE_CONFIG}")

wattlaw_sources(base base_sources)
wattlaw_sources(os os_sources)
wattlaw_sources(image image_sources)
wattlaw_sources(worker worker_sources)
list(FILTER worker_sources EXCLUDE REGEX "/main\\.c$")

# All but main.c, compiled once for the engine, the compressor and the programs that test them.
add_library(wl_engine_side STATIC ${worker_sources} ${base_sources} ${os_sources} ${image_sources}
            "${CMAKE_SOURCE_DIR}/src/engine/protocol.c")
foreach(folder base os image engine worker)
  wattlaw_include_dir(${folder} include_dir)
  target_include_directories(wl_engine_side PUBLIC "${include_dir}")
endforeach()
target_compile_definitions(wl_engine_side PUBLIC
  _GNU_SOURCE WATTLAW_VERSION="${PROJECT_VERSION}"
  WATTLAW_ENGINE_BACKENDS_DIR="${WATTLAW_ENGINE_BACKENDS_DIR}")
target_compile_options(wl_engine_side PUBLIC ${WATTLAW_ENGINE_OWN_CFLAGS} ${WATTLAW_ENGINE_CFLAGS})
target_link_options(wl_engine_side PUBLIC ${WATTLAW_LDFLAGS} ${WATTLAW_ENGINE_LDFLAGS})
target_link_libraries(wl_engine_side PUBLIC ${WATTLAW_ENGINE_LIBS})

add_executable(wattlaw-engine "${CMAKE_SOURCE_DIR}/src/worker/main.c")
target_link_libraries(wattlaw-engine PRIVATE wl_engine_side)
set_target_properties(wattlaw-engine PROPERTIES
  RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/bin" SKIP_BUILD_RPATH ON)

# Installed, the engine lives in lib/wattlaw with the private libraries and back ends beside it, and
# is started through the private loader there; with a system libllama it needs none of them.
install(TARGETS wattlaw-engine RUNTIME DESTINATION "${CMAKE_INSTALL_LIBDIR}/wattlaw")
if(WATTLAW_ENGINE_PRIVATE)
  install(DIRECTORY "${WATTLAW_ENGINE_RUNTIME_DIR}/" DESTINATION "${CMAKE_INSTALL_LIBDIR}/wattlaw"
    USE_SOURCE_PERMISSIONS)
  get_filename_component(loader "${WATTLAW_ENGINE_DYNAMIC_LINKER}" NAME)
  install(CODE "
    set(dir \"\${CMAKE_INSTALL_PREFIX}/${CMAKE_INSTALL_LIBDIR}/wattlaw\")
    set(engine \"\$ENV{DESTDIR}\${dir}/wattlaw-engine\")
    execute_process(COMMAND patchelf --set-interpreter \"\${dir}/${loader}\"
      --force-rpath --set-rpath \"\\\$ORIGIN\" \"\${engine}\" COMMAND_ERROR_IS_FATAL ANY)")
endif()

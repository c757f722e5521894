# Fuzz targets (clang's libFuzzer): fuzz/fuzz_<name>.c with seeds in fuzz/corpus/<name>/.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c")
foreach(source ${fuzz_sources})
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE wl_measure wl_report wl_plan wl_eval wl_compress wl_image wl_store wl_catalog wl_engine wl_sampler
    wl_meter wl_record wl_stats wl_series wl_os wl_base m)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
endforeach()

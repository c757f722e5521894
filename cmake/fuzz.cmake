# Fuzz targets (clang's libFuzzer): fuzz/fuzz_<name>.c with seeds in fuzz/corpus/<name>/.
file(GLOB fuzz_sources CONFIGURE_DEPENDS "${CMAKE_SOURCE_DIR}/fuzz/fuzz_*.c")
foreach(source ${fuzz_sources})
  get_filename_component(name "${source}" NAME_WE)
  add_executable(${name} "${source}")
  target_compile_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_options(${name} PRIVATE -fsanitize=fuzzer)
  target_link_libraries(${name} PRIVATE wl_measure wl_report wl_plan wl_eval wl_account wl_openai wl_compress wl_image wl_store wl_catalog wl_engine wl_sampler
    wl_meter wl_record wl_stats wl_series wl_os wl_base m)
  set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY "${CMAKE_BINARY_DIR}/fuzz")
endforeach()

# What of the gateway reads strangers' text by itself.
foreach(name fuzz_picture_url fuzz_request_path fuzz_routes fuzz_settings fuzz_upstream_read)
  target_link_libraries(${name} PRIVATE wl_gateway)
  target_compile_definitions(${name} PRIVATE _GNU_SOURCE)
endforeach()

# The compressor's readers, sanitized: of ggml they need its headers, which are copied because those
# beside them are another C library's, and the sizes of its types (fuzz/ggml_types.c).
if(WATTLAW_ENGINE_PRIVATE)
  set(fuzz_ggml_dir "${CMAKE_BINARY_DIR}/fuzz-ggml")
  file(COPY "${WATTLAW_ENGINE_SYSROOT}/usr/include/ggml.h"
    "${WATTLAW_ENGINE_SYSROOT}/usr/include/gguf.h" DESTINATION "${fuzz_ggml_dir}")
endif()
set(fuzz_readers analysis_json arch calib_file calib_part certificate costs narrow_record pack_finish
  plan relabel relabel_find relabel_rules source source_keys source_shape source_tensors states target
  target_keys target_write trim_vocab work)
list(TRANSFORM fuzz_readers REPLACE "(.+)" "${CMAKE_SOURCE_DIR}/src/compressor/\\1.c")
add_library(wl_fuzz_readers STATIC ${fuzz_readers} "${CMAKE_SOURCE_DIR}/src/worker/gguf_file.c"
  "${CMAKE_SOURCE_DIR}/fuzz/ggml_types.c")
foreach(folder compressor worker)
  wattlaw_include_dir(${folder} include_dir)
  target_include_directories(wl_fuzz_readers PUBLIC "${include_dir}")
endforeach()
target_include_directories(wl_fuzz_readers SYSTEM PUBLIC ${fuzz_ggml_dir})
target_compile_options(wl_fuzz_readers PRIVATE ${WATTLAW_CFLAGS})
target_compile_definitions(wl_fuzz_readers PUBLIC _GNU_SOURCE)
target_link_libraries(wl_fuzz_readers PUBLIC wl_compress wl_os wl_base m)
foreach(name fuzz_compress fuzz_work_blocks fuzz_work_folder)
  target_link_libraries(${name} PRIVATE wl_fuzz_readers)
endforeach()

# Warnings and hardening for our own code; also used for the copies compiled into the engine.
set(WATTLAW_CFLAGS
  -D_POSIX_C_SOURCE=200809L
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wstrict-prototypes -Wmissing-prototypes -Wvla
  -Wundef -Wformat=2 -Wwrite-strings -fno-common -fstack-protector-strong -fvisibility=hidden
  -include "${CMAKE_SOURCE_DIR}/src/base/banned.h")
if(APPLE) # with _POSIX_C_SOURCE alone its headers hide what src/os/darwin uses
  list(APPEND WATTLAW_CFLAGS -D_DARWIN_C_SOURCE)
endif()
if(WATTLAW_WERROR)
  list(APPEND WATTLAW_CFLAGS -Werror)
endif()
set(WATTLAW_ENGINE_OWN_CFLAGS ${WATTLAW_CFLAGS}) # the engine is not sanitized: it links another C library
if(WATTLAW_SANITIZE)
  list(APPEND WATTLAW_CFLAGS -fsanitize=${WATTLAW_SANITIZE} -fno-omit-frame-pointer
       -fno-sanitize-recover=undefined)
elseif(CMAKE_BUILD_TYPE MATCHES "Rel")
  list(APPEND WATTLAW_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
  list(APPEND WATTLAW_ENGINE_OWN_CFLAGS -U_FORTIFY_SOURCE -D_FORTIFY_SOURCE=2)
endif()
if(WATTLAW_FUZZ)
  list(APPEND WATTLAW_CFLAGS -fsanitize=fuzzer-no-link) # coverage of the libraries guides the fuzzer
endif()
if(NOT APPLE)
  set(WATTLAW_LDFLAGS -pie -Wl,-z,relro,-z,now -Wl,--as-needed)
endif()

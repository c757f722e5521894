# Writes OUT, a C source that defines `const char SYMBOL[]` with the bytes of IN and a NUL.
file(READ "${IN}" hex HEX)
string(REGEX REPLACE "([0-9a-f][0-9a-f])" "'\\\\x\\1'," bytes "${hex}")
string(REGEX REPLACE "('....',+'....',+'....',+'....',+'....',+'....',+'....',+'....',+'....',+'....',+)" "\\1\n" bytes "${bytes}")
file(WRITE "${OUT}" "extern const char ${SYMBOL}[];\nconst char ${SYMBOL}[] = {\n${bytes}0};\n")

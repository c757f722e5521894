// Stub: see README.md.
#ifndef DARWIN_STUB_CRT_EXTERNS_H
#define DARWIN_STUB_CRT_EXTERNS_H

char ***_NSGetEnviron(void);

#endif

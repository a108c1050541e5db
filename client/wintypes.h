/* SPDX-License-Identifier: MIT */
/* The integer and pointer names of the PC/SC API. DWORD and LONG are as wide as a pointer: 8 bytes
 * on 64-bit Linux, 4 on 32-bit. That is not Windows' rule, but it is the ABI of libpcsclite.so.1. */
#ifndef __wintypes_h__
#define __wintypes_h__

#ifdef __cplusplus
extern "C" {
#endif

#ifndef BYTE
typedef unsigned char BYTE;
#endif
typedef unsigned char UCHAR;
typedef unsigned short USHORT;
typedef unsigned short WORD;
typedef short BOOL;
typedef long LONG;
typedef unsigned long DWORD;
/* CoreFoundation brings these two */
#ifndef __COREFOUNDATION_CFPLUGINCOM__
typedef unsigned long ULONG;
typedef void *LPVOID;
#endif

typedef const void *LPCVOID;
typedef BYTE *LPBYTE;
typedef const BYTE *LPCBYTE;
typedef UCHAR *PUCHAR;
typedef DWORD *LPDWORD;
typedef DWORD *PDWORD;
typedef ULONG *PULONG;
typedef char *LPSTR;
typedef const char *LPCSTR;
typedef LPSTR LPTSTR;
typedef LPCSTR LPCTSTR;

#ifdef __cplusplus
}
#endif

#endif

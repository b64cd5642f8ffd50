//! `memcpy`, `memmove` and `memset`, in place of the slow ones that come with the compiler.

core::arch::global_asm!(include_str!("memory.s"));

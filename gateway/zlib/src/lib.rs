//! Stands in for the crate `libz-ng-sys`, which builds zlib-ng from C with cmake, so that the
//! gateway builds with the Rust toolchain alone. `pingora-core` depends on it (by `flate2`) for
//! compression, of which the gateway uses nothing. The functions are those of zlib-rs; only the
//! stream has another type, whose function pointers are never null.

#![allow(
    non_camel_case_types,
    non_snake_case,
    clippy::missing_safety_doc,
    missing_docs,
    reason = "names and contracts are zlib's"
)]

use std::ffi::{c_char, c_int, c_ulong, c_void};
use std::mem::{align_of, offset_of, size_of};

pub use libz_rs_sys::{
    Z_BLOCK, Z_BUF_ERROR, Z_DATA_ERROR, Z_DEFAULT_STRATEGY, Z_DEFLATED, Z_FINISH, Z_FULL_FLUSH,
    Z_MEM_ERROR, Z_NEED_DICT, Z_NO_FLUSH, Z_OK, Z_PARTIAL_FLUSH, Z_STREAM_END, Z_STREAM_ERROR,
    Z_SYNC_FLUSH, uInt, zlibVersion,
};

type Real = libz_rs_sys::z_stream;

pub type alloc_func = unsafe extern "C" fn(*mut c_void, uInt, uInt) -> *mut c_void;
pub type free_func = unsafe extern "C" fn(*mut c_void, *mut c_void);
pub enum internal_state {}

/// A stream: laid out as the one of zlib-rs.
#[repr(C)]
#[derive(Copy, Clone)]
pub struct z_stream {
    pub next_in: *mut u8,
    pub avail_in: uInt,
    pub total_in: c_ulong,
    pub next_out: *mut u8,
    pub avail_out: uInt,
    pub total_out: c_ulong,
    pub msg: *mut c_char,
    pub state: *mut internal_state,
    pub zalloc: alloc_func,
    pub zfree: free_func,
    pub opaque: *mut c_void,
    pub data_type: c_int,
    pub adler: c_ulong,
    pub reserved: c_ulong,
}

// What the casts below rely on.
const _: () = {
    assert!(size_of::<z_stream>() == size_of::<Real>());
    assert!(align_of::<z_stream>() == align_of::<Real>());
    assert!(offset_of!(z_stream, avail_in) == offset_of!(Real, avail_in));
    assert!(offset_of!(z_stream, total_out) == offset_of!(Real, total_out));
    assert!(offset_of!(z_stream, zalloc) == offset_of!(Real, zalloc));
    assert!(offset_of!(z_stream, zfree) == offset_of!(Real, zfree));
    assert!(offset_of!(z_stream, opaque) == offset_of!(Real, opaque));
    assert!(offset_of!(z_stream, reserved) == offset_of!(Real, reserved));
};

macro_rules! passed_on {
    ($($name:ident($($argument:ident: $type:ty),*);)*) => {
        $(
            pub unsafe extern "C" fn $name(stream: *mut z_stream, $($argument: $type),*) -> c_int {
                // SAFETY: the contract is the same, and so is the layout (asserted above); an
                // `Option` of a function pointer that is `Some` is that pointer.
                unsafe { libz_rs_sys::$name(stream.cast::<Real>(), $($argument),*) }
            }
        )*
    };
}

passed_on! {
    deflate(flush: c_int);
    deflateEnd();
    deflateInit2_(
        level: c_int, method: c_int, window_bits: c_int, memory_level: c_int, strategy: c_int,
        version: *const c_char, stream_size: c_int
    );
    deflateParams(level: c_int, strategy: c_int);
    deflateReset();
    deflateSetDictionary(dictionary: *const u8, length: uInt);
    inflate(flush: c_int);
    inflateEnd();
    inflateInit2_(window_bits: c_int, version: *const c_char, stream_size: c_int);
    inflateReset2(window_bits: c_int);
    inflateSetDictionary(dictionary: *const u8, length: uInt);
}

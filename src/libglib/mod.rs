//! The functions of GLib that a repository needs, from the host's `libglib-2.0.so.0`.
//!
//! GLib reads what libostree has it read: key files and commits' metadata. The library is opened when it is first needed,
//! so that neither building nor importing this package needs it. What this module offers is safe, owns its references,
//! and copies text.

#![allow(unsafe_code)]

mod key_file;
mod variant;

pub(crate) use self::key_file::KeyFile;
pub(crate) use self::variant::{Type, Variant};

use std::ffi::{c_char, c_int, c_void, CStr};
use std::ptr::null_mut;
use std::sync::OnceLock;

use libloading::os::unix::{Library, RTLD_LOCAL, RTLD_NOW};

use crate::error::{Error, Result};

const NAME: &str = "libglib-2.0.so.0";
/// What is missing, and which package has it.
const MISSING: &str =
    "libglib-2.0.so.0 is missing: install the package libglib2.0-0 (Debian, Ubuntu) or glib2 (Fedora, RHEL)";

/// Any of a library's types, behind a pointer.
pub(crate) type Pointer = *mut c_void;
pub(crate) type Text = *const c_char;
/// Where a function puts its error.
pub(crate) type ErrorPlace = *mut *mut GError;

/// GLib's `GError`.
#[repr(C)]
pub(crate) struct GError {
    domain: u32,
    code: c_int,
    message: *mut c_char,
}

/// Declares the table `Functions` of a library's functions, each by its name and C type.
macro_rules! declare_functions {
    ($($name:ident: fn($($argument:ty),*) $(-> $result:ty)?;)*) => {
        struct Functions {
            $($name: unsafe extern "C" fn($($argument),*) $(-> $result)?,)*
        }

        impl Functions {
            /// # Safety
            /// The library's functions have these types.
            unsafe fn find(
                library: &libloading::os::unix::Library,
            ) -> std::result::Result<Self, libloading::Error> {
                // SAFETY: By the contract.
                unsafe { Ok(Self { $($name: *library.get(concat!(stringify!($name), "\0"))?,)* }) }
            }
        }
    };
}
pub(crate) use declare_functions;

declare_functions! {
    g_bytes_new: fn(Pointer, usize) -> Pointer;
    g_bytes_unref: fn(Pointer);
    g_error_free: fn(*mut GError);
    g_format_size: fn(u64) -> *mut c_char;
    g_free: fn(Pointer);
    g_key_file_error_quark: fn() -> u32;
    g_key_file_get_boolean: fn(Pointer, Text, Text, ErrorPlace) -> c_int;
    g_key_file_get_groups: fn(Pointer, *mut usize) -> *mut *mut c_char;
    g_key_file_get_value: fn(Pointer, Text, Text, ErrorPlace) -> *mut c_char;
    g_key_file_load_from_data: fn(Pointer, Text, usize, c_int, ErrorPlace) -> c_int;
    g_key_file_new: fn() -> Pointer;
    g_key_file_set_boolean: fn(Pointer, Text, Text, c_int);
    g_key_file_to_data: fn(Pointer, *mut usize, ErrorPlace) -> *mut c_char;
    g_key_file_unref: fn(Pointer);
    g_strfreev: fn(*mut *mut c_char);
    g_variant_get_boolean: fn(Pointer) -> c_int;
    g_variant_get_child_value: fn(Pointer, usize) -> Pointer;
    g_variant_get_string: fn(Pointer, *mut usize) -> Text;
    g_variant_get_uint64: fn(Pointer) -> u64;
    g_variant_get_variant: fn(Pointer) -> Pointer;
    g_variant_is_container: fn(Pointer) -> c_int;
    g_variant_is_normal_form: fn(Pointer) -> c_int;
    g_variant_is_of_type: fn(Pointer, Text) -> c_int;
    g_variant_n_children: fn(Pointer) -> usize;
    g_variant_new_from_bytes: fn(Text, Pointer, c_int) -> Pointer;
    g_variant_ref_sink: fn(Pointer) -> Pointer;
    g_variant_unref: fn(Pointer);
}

/// The table of functions.
fn functions() -> Result<&'static Functions> {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    // SAFETY: Each type is the one that GLib's headers declare.
    table(&FUNCTIONS, NAME, MISSING, |library| unsafe { Functions::find(library) })
}

/// The functions of the library `name`, which is opened with the first call and stays open: GLib's types can't be unloaded.
/// `missing` is what to tell where there is none.
pub(crate) fn table<F>(
    place: &'static OnceLock<F>,
    name: &str,
    missing: &str,
    find: impl FnOnce(&Library) -> std::result::Result<F, libloading::Error>,
) -> Result<&'static F> {
    if let Some(functions) = place.get() {
        return Ok(functions);
    }
    // SAFETY: The library's initializers are those of GLib, libostree and what they need, which any program may run.
    let library = unsafe { Library::open(Some(name), RTLD_NOW | RTLD_LOCAL) };
    let library = library.map_err(|_| Error::MissingLibrary(missing.into()))?;
    let found = find(&library);
    std::mem::forget(library);
    let found = found.map_err(|error| Error::MissingLibrary(format!("{name} is too old: {error}")))?;
    Ok(place.get_or_init(|| found))
}

/// What a `GError` says.
#[derive(Debug)]
pub(crate) struct Failure {
    /// The quark of the kind of errors that `code` is one of.
    pub domain: u32,
    pub code: c_int,
    pub message: String,
}

/// Makes a call that reports failure by a `GError`, which it gives to the caller; `free` is `g_error_free`.
pub(crate) fn checked<T>(
    free: unsafe extern "C" fn(*mut GError),
    call: impl FnOnce(ErrorPlace) -> T,
) -> std::result::Result<T, Failure> {
    let mut error: *mut GError = null_mut();
    let result = call(&raw mut error);
    if error.is_null() {
        return Ok(result);
    }
    // SAFETY: A call that sets an error gives it to the caller, with a text; it is read, and then freed once.
    unsafe {
        let failure =
            Failure { domain: (*error).domain, code: (*error).code, message: text((*error).message) };
        free(error);
        Err(failure)
    }
}

/// Copies a text; NULL is empty.
///
/// # Safety
/// `pointer` is NULL or points to a NUL-terminated text.
pub(crate) unsafe fn text(pointer: Text) -> String {
    if pointer.is_null() {
        return String::new();
    }
    // SAFETY: By the contract.
    unsafe { CStr::from_ptr(pointer) }.to_string_lossy().into_owned()
}

/// A number of bytes as `ostree` prints it.
#[cfg_attr(not(feature = "python"), allow(dead_code))]
pub(crate) fn format_size(size: u64) -> Result<String> {
    let functions = functions()?;
    // SAFETY: The text is the caller's, copied and then freed.
    unsafe {
        let formatted = (functions.g_format_size)(size);
        let copy = text(formatted);
        (functions.g_free)(formatted.cast());
        Ok(copy)
    }
}

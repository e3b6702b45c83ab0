//! GLib's `GVariant`: a value of one of many types, read from its serialised form.

use std::ffi::{c_void, CStr};
use std::ptr::{null_mut, NonNull};

use super::{functions, Functions, Pointer};
use crate::error::{Error, Result};

/// The type of a value, from a text that GLib takes for one.
#[derive(Clone, Copy)]
pub(crate) struct Type(&'static CStr);

impl Type {
    /// A commit's, `OSTREE_COMMIT_GVARIANT_FORMAT`.
    pub const COMMIT: Self = Self(c"(a{sv}aya(say)sstayay)");
    /// `G_VARIANT_TYPE_VARDICT`.
    pub const DICTIONARY: Self = Self(c"a{sv}");
    pub const TEXT: Self = Self(c"s");
    pub const TEXTS: Self = Self(c"as");
    pub const TWO_NUMBERS: Self = Self(c"(tt)");
    const NUMBER: Self = Self(c"t");
    const BOOLEAN: Self = Self(c"b");
}

/// A `GVariant` in normal form, given back when dropped.
pub(crate) struct Variant {
    functions: &'static Functions,
    pointer: NonNull<c_void>,
}

impl Variant {
    /// Reads a value of a type; None if `bytes` are not its normal form.
    pub fn parse(bytes: &[u8], of: Type) -> Result<Option<Self>> {
        let functions = functions()?;
        // SAFETY: GLib copies as many bytes as there are, and makes a value of a type that it knows. The value has a
        // reference of its own to the copy, and becomes the caller's.
        let value = unsafe {
            let copy = (functions.g_bytes_new)(bytes.as_ptr().cast_mut().cast(), bytes.len());
            let value = (functions.g_variant_new_from_bytes)(of.0.as_ptr(), copy, 0);
            (functions.g_bytes_unref)(copy);
            Self::take(functions, (functions.g_variant_ref_sink)(value))
        };
        let value = value.ok_or_else(|| Error::Internal("GLib made no value".into()))?;
        // SAFETY: The value is alive.
        let is_normal = unsafe { (functions.g_variant_is_normal_form)(value.pointer()) } != 0;
        Ok(is_normal.then_some(value))
    }

    /// Takes a reference over (*transfer full*).
    ///
    /// # Safety
    /// `pointer` is NULL, or a reference to a `GVariant` that is the caller's.
    unsafe fn take(functions: &'static Functions, pointer: Pointer) -> Option<Self> {
        Some(Self { functions, pointer: NonNull::new(pointer)? })
    }

    fn pointer(&self) -> Pointer {
        self.pointer.as_ptr()
    }

    pub fn is(&self, of: Type) -> bool {
        // SAFETY: The value is alive, and the type is one that GLib knows.
        unsafe { (self.functions.g_variant_is_of_type)(self.pointer(), of.0.as_ptr()) != 0 }
    }

    /// How many values are in this one.
    pub fn len(&self) -> usize {
        // SAFETY: The value is alive; a container is asked only.
        unsafe {
            if (self.functions.g_variant_is_container)(self.pointer()) == 0 {
                return 0;
            }
            (self.functions.g_variant_n_children)(self.pointer())
        }
    }

    /// One of the values in this one.
    pub fn child(&self, index: usize) -> Option<Self> {
        if index >= self.len() {
            return None;
        }
        // SAFETY: The value is alive, and has that child; the call returns a new reference.
        unsafe {
            Self::take(self.functions, (self.functions.g_variant_get_child_value)(self.pointer(), index))
        }
    }

    /// The value of a key in a dictionary. Of several of that name the last one, as `GVariantDict` has it, which would
    /// hold all of them in memory.
    pub fn lookup(&self, key: &str) -> Option<Self> {
        if !self.is(Type::DICTIONARY) {
            return None;
        }
        let is_key = |entry: &Self| entry.child(0).is_some_and(|name| name.text() == Some(key));
        let value = (0..self.len()).rev().filter_map(|index| self.child(index)).find(is_key)?.child(1)?;
        // SAFETY: The value is alive, and a variant, as each of a dictionary is; the call returns a new reference.
        unsafe { Self::take(self.functions, (self.functions.g_variant_get_variant)(value.pointer())) }
    }

    /// The text, if it is one.
    pub fn text(&self) -> Option<&str> {
        if !self.is(Type::TEXT) {
            return None;
        }
        // SAFETY: The value is alive, and a text, which is NUL-terminated and lives as long.
        let text =
            unsafe { CStr::from_ptr((self.functions.g_variant_get_string)(self.pointer(), null_mut())) };
        text.to_str().ok()
    }

    /// The number, if it is an unsigned one of 64 bits.
    pub fn number(&self) -> Option<u64> {
        // SAFETY: The value is alive, and such a number.
        self.is(Type::NUMBER).then(|| unsafe { (self.functions.g_variant_get_uint64)(self.pointer()) })
    }

    /// Whether it is true, if it is a truth value.
    pub fn boolean(&self) -> Option<bool> {
        // SAFETY: The value is alive, and a truth value.
        self.is(Type::BOOLEAN).then(|| unsafe { (self.functions.g_variant_get_boolean)(self.pointer()) != 0 })
    }
}

impl Drop for Variant {
    fn drop(&mut self) {
        // SAFETY: The reference is this value's own, and not used again.
        unsafe { (self.functions.g_variant_unref)(self.pointer()) }
    }
}

//! GLib's `GKeyFile`: groups of keys with values.

use std::ffi::{c_int, CStr};
use std::ptr::NonNull;

use super::{checked, functions, text, Failure, Functions, Pointer};
use crate::error::{Error, Result};

/// `G_KEY_FILE_KEEP_COMMENTS | G_KEY_FILE_KEEP_TRANSLATIONS`: what is written again is what was read.
const KEEP_ALL: c_int = 1 | 2;
/// `G_KEY_FILE_ERROR_KEY_NOT_FOUND` and `G_KEY_FILE_ERROR_GROUP_NOT_FOUND`.
const NOT_FOUND: [c_int; 2] = [3, 4];

/// A `GKeyFile`, given back when dropped.
pub(crate) struct KeyFile {
    functions: &'static Functions,
    pointer: NonNull<std::ffi::c_void>,
}

impl KeyFile {
    /// Parses the text of a key file. The inner error is for people.
    pub fn parse(content: &str) -> Result<std::result::Result<Self, String>> {
        let functions = functions()?;
        // SAFETY: The call returns a new reference.
        let pointer = NonNull::new(unsafe { (functions.g_key_file_new)() })
            .ok_or_else(|| Error::Internal("GLib made no key file".into()))?;
        let file = Self { functions, pointer };
        // SAFETY: The object is alive, and of the text as many bytes are read as it has.
        let loaded = checked(functions.g_error_free, |error| unsafe {
            (functions.g_key_file_load_from_data)(
                file.pointer(),
                content.as_ptr().cast(),
                content.len(),
                KEEP_ALL,
                error,
            )
        });
        Ok(loaded.map(|_| file).map_err(|failure| failure.message))
    }

    fn pointer(&self) -> Pointer {
        self.pointer.as_ptr()
    }

    /// The groups' names, in the file's order.
    pub fn groups(&self) -> Vec<String> {
        let mut count = 0;
        // SAFETY: The object is alive. The list is the caller's, and has `count` texts, copied before it is freed.
        unsafe {
            let names = (self.functions.g_key_file_get_groups)(self.pointer(), &raw mut count);
            let copies = (0..count).map(|index| text(*names.add(index))).collect();
            (self.functions.g_strfreev)(names);
            copies
        }
    }

    /// A key's value as it is written; None if there is no such key. The error is for people.
    pub fn value(&self, group: &CStr, key: &CStr) -> std::result::Result<Option<String>, String> {
        // SAFETY: The object is alive and the texts are NUL-terminated.
        let value = checked(self.functions.g_error_free, |error| unsafe {
            (self.functions.g_key_file_get_value)(self.pointer(), group.as_ptr(), key.as_ptr(), error)
        });
        self.found(value.map(|value| {
            // SAFETY: The text is the caller's, copied and then freed.
            unsafe {
                let copy = text(value);
                (self.functions.g_free)(value.cast());
                copy
            }
        }))
    }

    /// A key's value as true or false; None if there is no such key. The error is for people.
    pub fn boolean(&self, group: &CStr, key: &CStr) -> std::result::Result<Option<bool>, String> {
        // SAFETY: The object is alive and the texts are NUL-terminated.
        let value = checked(self.functions.g_error_free, |error| unsafe {
            (self.functions.g_key_file_get_boolean)(self.pointer(), group.as_ptr(), key.as_ptr(), error)
        });
        self.found(value.map(|value| value != 0))
    }

    pub fn set_boolean(&mut self, group: &CStr, key: &CStr, value: bool) {
        // SAFETY: The object is alive, and the texts are NUL-terminated.
        unsafe {
            (self.functions.g_key_file_set_boolean)(
                self.pointer(),
                group.as_ptr(),
                key.as_ptr(),
                value.into(),
            );
        }
    }

    /// The file's text.
    pub fn to_text(&self) -> std::result::Result<String, String> {
        // SAFETY: The object is alive; no place for the length may be NULL. The text is the caller's, copied and then freed.
        checked(self.functions.g_error_free, |error| unsafe {
            let data = (self.functions.g_key_file_to_data)(self.pointer(), std::ptr::null_mut(), error);
            let copy = text(data);
            (self.functions.g_free)(data.cast());
            copy
        })
        .map_err(|failure| failure.message)
    }

    fn found<T>(&self, value: std::result::Result<T, Failure>) -> std::result::Result<Option<T>, String> {
        value.map(Some).or_else(|failure| {
            // SAFETY: The call has no arguments.
            let quark = unsafe { (self.functions.g_key_file_error_quark)() };
            if failure.domain == quark && NOT_FOUND.contains(&failure.code) {
                Ok(None)
            } else {
                Err(failure.message)
            }
        })
    }
}

impl Drop for KeyFile {
    fn drop(&mut self) {
        // SAFETY: The reference is this value's own, and not used again.
        unsafe { (self.functions.g_key_file_unref)(self.pointer()) }
    }
}

//! The functions of libostree, GIO and GLib that a sysroot needs, from the host's `libostree-1.so.1`.
//!
//! The library is opened when it is first needed, so that a server's repository can be pruned where it is not
//! installed. This file alone handles its pointers: what it offers is safe, owns its references, and copies text.

#![allow(unsafe_code)]

use std::ffi::{c_char, c_int, c_uint, c_void, CStr, CString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::ptr::{null, null_mut, NonNull};
use std::sync::OnceLock;

use rustix::io::Errno;

use crate::error::{Error, Result};
use crate::libglib::{self, declare_functions, text, ErrorPlace, GError, Pointer, Text};

const NAME: &str = "libostree-1.so.1";
/// What is missing, and which package has it.
const MISSING: &str =
    "libostree-1.so.1 is missing: install the package libostree-1-1 (Debian, Ubuntu) or ostree-libs (Fedora, RHEL)";

/// GLib's `GPtrArray`, its public part.
#[repr(C)]
struct GPtrArray {
    data: *mut Pointer,
    len: c_uint,
}

/// GLib's `GHashTableIter`, which is the caller's memory.
#[repr(C)]
struct GHashTableIter {
    _private: [Pointer; 6],
}

declare_functions! {
    g_cancellable_cancel: fn(Pointer);
    g_cancellable_new: fn() -> Pointer;
    g_error_free: fn(*mut GError);
    g_file_new_for_path: fn(Text) -> Pointer;
    g_free: fn(Pointer);
    g_hash_table_iter_init: fn(*mut GHashTableIter, Pointer);
    g_hash_table_iter_next: fn(*mut GHashTableIter, *mut Pointer, *mut Pointer) -> c_int;
    g_hash_table_unref: fn(Pointer);
    g_io_error_quark: fn() -> u32;
    g_key_file_get_string: fn(Pointer, Text, Text, ErrorPlace) -> *mut c_char;
    g_object_ref: fn(Pointer) -> Pointer;
    g_object_unref: fn(Pointer);
    g_ptr_array_unref: fn(*mut GPtrArray);
    ostree_bootconfig_parser_get_overlay_initrds: fn(Pointer) -> *mut *mut c_char;
    ostree_deployment_equal: fn(Pointer, Pointer) -> c_int;
    ostree_deployment_get_bootconfig: fn(Pointer) -> Pointer;
    ostree_deployment_get_bootcsum: fn(Pointer) -> Text;
    ostree_deployment_get_csum: fn(Pointer) -> Text;
    ostree_deployment_get_deployserial: fn(Pointer) -> c_int;
    ostree_deployment_get_index: fn(Pointer) -> c_int;
    ostree_deployment_get_origin: fn(Pointer) -> Pointer;
    ostree_deployment_get_osname: fn(Pointer) -> Text;
    ostree_deployment_is_pinned: fn(Pointer) -> c_int;
    ostree_deployment_is_staged: fn(Pointer) -> c_int;
    ostree_repo_list_refs_ext: fn(Pointer, Text, *mut Pointer, c_uint, Pointer, ErrorPlace) -> c_int;
    ostree_repo_new: fn(Pointer) -> Pointer;
    ostree_repo_open: fn(Pointer, Pointer, ErrorPlace) -> c_int;
    ostree_repo_resolve_rev: fn(Pointer, Text, c_int, *mut *mut c_char, ErrorPlace) -> c_int;
    ostree_repo_set_ref_immediate: fn(Pointer, Text, Text, Text, Pointer, ErrorPlace) -> c_int;
    ostree_sysroot_get_booted_deployment: fn(Pointer) -> Pointer;
    ostree_sysroot_get_bootversion: fn(Pointer) -> c_int;
    ostree_sysroot_get_deployments: fn(Pointer) -> *mut GPtrArray;
    ostree_sysroot_get_subbootversion: fn(Pointer) -> c_int;
    ostree_sysroot_initialize: fn(Pointer, ErrorPlace) -> c_int;
    ostree_sysroot_is_booted: fn(Pointer) -> c_int;
    ostree_sysroot_load: fn(Pointer, Pointer, ErrorPlace) -> c_int;
    ostree_sysroot_new: fn(Pointer) -> Pointer;
    ostree_sysroot_query_deployments_for: fn(Pointer, Text, *mut Pointer, *mut Pointer);
    ostree_sysroot_set_mount_namespace_in_use: fn(Pointer);
    ostree_sysroot_try_lock: fn(Pointer, *mut c_int, ErrorPlace) -> c_int;
    ostree_sysroot_unlock: fn(Pointer);
}

/// The table of functions.
fn functions() -> Result<&'static Functions> {
    static FUNCTIONS: OnceLock<Functions> = OnceLock::new();
    // SAFETY: Each type is the one that the header of libostree 2022.7, GLib or GIO declares.
    libglib::table(&FUNCTIONS, NAME, MISSING, |library| unsafe { Functions::find(library) })
}

/// An error of libostree's.
#[derive(Debug)]
pub(super) struct Failure {
    /// The code, if it is one of GIO's (`GIOErrorEnum`).
    code: Option<c_int>,
    pub message: String,
}

impl Failure {
    /// `G_IO_ERROR_CANCELLED`.
    pub fn is_cancelled(&self) -> bool {
        self.code == Some(19)
    }

    /// The kernel's number, where the code stands for a single one.
    pub fn errno(&self) -> Option<Errno> {
        match self.code? {
            12 => Some(Errno::NOSPC),  // G_IO_ERROR_NO_SPACE
            14 => Some(Errno::ACCESS), // G_IO_ERROR_PERMISSION_DENIED
            21 => Some(Errno::ROFS),   // G_IO_ERROR_READ_ONLY
            _ => None,
        }
    }

    /// `G_IO_ERROR_WOULD_BLOCK`.
    pub fn is_would_block(&self) -> bool {
        self.code == Some(27)
    }
}

/// What a call of libostree's comes to.
pub(super) type Outcome<T> = std::result::Result<T, Failure>;

/// A reference to a `GObject`, given back when dropped.
struct Object {
    functions: &'static Functions,
    pointer: NonNull<c_void>,
}

impl Object {
    /// Takes a reference over (*transfer full*).
    ///
    /// # Safety
    /// `pointer` is NULL, or a reference to a `GObject` that is the caller's.
    unsafe fn take(functions: &'static Functions, pointer: Pointer) -> Option<Self> {
        Some(Self { functions, pointer: NonNull::new(pointer)? })
    }

    /// Takes a reference of its own to what is another's (*transfer none*).
    ///
    /// # Safety
    /// `pointer` is NULL or points to a living `GObject`.
    unsafe fn borrow(functions: &'static Functions, pointer: Pointer) -> Option<Self> {
        if pointer.is_null() {
            return None;
        }
        // SAFETY: It is alive, by the contract; the new reference is given to `take`.
        unsafe { Self::take(functions, (functions.g_object_ref)(pointer)) }
    }

    fn pointer(&self) -> Pointer {
        self.pointer.as_ptr()
    }

    /// The `GFile` of a path.
    fn file(functions: &'static Functions, path: &Path) -> Result<Self> {
        let text = CString::new(path.as_os_str().as_bytes())
            .map_err(|_| Error::io(path, rustix::io::Errno::INVAL))?;
        // SAFETY: The text is NUL-terminated, and copied by the call, which returns a new reference.
        unsafe { made(Self::take(functions, (functions.g_file_new_for_path)(text.as_ptr()))) }
    }
}

impl Drop for Object {
    fn drop(&mut self) {
        // SAFETY: The reference is this value's own, and not used again.
        unsafe { (self.functions.g_object_unref)(self.pointer()) }
    }
}

/// What a constructor made; GLib aborts rather than return NULL.
fn made(object: Option<Object>) -> Result<Object> {
    object.ok_or_else(|| Error::Internal("libostree made no object".into()))
}

/// Makes a call that reports failure by false and a `GError`.
fn checked(functions: &Functions, call: impl FnOnce(ErrorPlace) -> c_int) -> Outcome<()> {
    match libglib::checked(functions.g_error_free, call) {
        Ok(0) => Err(Failure { code: None, message: "libostree failed, and does not say why".into() }),
        Ok(_) => Ok(()),
        Err(libglib::Failure { domain, code, message }) => {
            // SAFETY: The call has no arguments.
            let is_io = domain == unsafe { (functions.g_io_error_quark)() };
            Err(Failure { code: is_io.then_some(code), message })
        }
    }
}

/// A `GCancellable`.
pub(super) struct Cancellable(Object);

// SAFETY: GIO's reference counts are atomic, and `g_cancellable_cancel` may be called from any thread.
unsafe impl Sync for Cancellable {}

impl Cancellable {
    pub fn new() -> Result<Self> {
        let functions = functions()?;
        // SAFETY: The call returns a new reference.
        unsafe { made(Object::take(functions, (functions.g_cancellable_new)())).map(Self) }
    }

    pub fn cancel(&self) {
        // SAFETY: The object is alive.
        unsafe { (self.0.functions.g_cancellable_cancel)(self.0.pointer()) }
    }
}

/// An `OstreeSysroot`.
pub(super) struct Sysroot(Object);

impl Sysroot {
    pub fn new(path: &Path) -> Result<Self> {
        let functions = functions()?;
        let file = Object::file(functions, path)?;
        // SAFETY: The file is alive; the call takes a reference of its own, and returns a new one to the sysroot.
        unsafe { made(Object::take(functions, (functions.ostree_sysroot_new)(file.pointer()))).map(Self) }
    }

    pub fn initialize(&self) -> Outcome<()> {
        let functions = self.0.functions;
        // SAFETY: The object is alive.
        checked(functions, |error| unsafe { (functions.ostree_sysroot_initialize)(self.0.pointer(), error) })
    }

    /// Says that the calling thread has a mount namespace of its own. To be called before [`initialize`](Self::initialize).
    pub fn set_mount_namespace_in_use(&self) {
        // SAFETY: The object is alive.
        unsafe { (self.0.functions.ostree_sysroot_set_mount_namespace_in_use)(self.0.pointer()) }
    }

    pub fn load(&self) -> Outcome<()> {
        let functions = self.0.functions;
        // SAFETY: The object is alive; no cancellable may be NULL.
        checked(functions, |error| unsafe {
            (functions.ostree_sysroot_load)(self.0.pointer(), null_mut(), error)
        })
    }

    /// Takes the lock if nobody else has it; says whether it did.
    pub fn try_lock(&self) -> Outcome<bool> {
        let functions = self.0.functions;
        let mut acquired = 0;
        // SAFETY: The object is alive, and the place for the answer outlives the call.
        checked(functions, |error| unsafe {
            (functions.ostree_sysroot_try_lock)(self.0.pointer(), &raw mut acquired, error)
        })?;
        Ok(acquired != 0)
    }

    pub fn unlock(&self) {
        // SAFETY: The object is alive.
        unsafe { (self.0.functions.ostree_sysroot_unlock)(self.0.pointer()) }
    }

    pub fn is_booted(&self) -> bool {
        // SAFETY: The object is alive, and initialized by its caller: it asserts that, and answers false otherwise.
        unsafe { (self.0.functions.ostree_sysroot_is_booted)(self.0.pointer()) != 0 }
    }

    /// The boot version and the sub-boot version.
    pub fn boot_versions(&self) -> (i32, i32) {
        let functions = self.0.functions;
        // SAFETY: The object is alive.
        unsafe {
            (
                (functions.ostree_sysroot_get_bootversion)(self.0.pointer()),
                (functions.ostree_sysroot_get_subbootversion)(self.0.pointer()),
            )
        }
    }

    pub fn booted(&self) -> Option<Deployment> {
        let functions = self.0.functions;
        // SAFETY: The object is alive; the call returns NULL or what belongs to the sysroot.
        let found = unsafe {
            Object::borrow(functions, (functions.ostree_sysroot_get_booted_deployment)(self.0.pointer()))
        };
        found.map(Deployment)
    }

    /// The pending deployment and the rollback, of the booted stateroot.
    pub fn pending_and_rollback(&self) -> (Option<Deployment>, Option<Deployment>) {
        let functions = self.0.functions;
        let (mut pending, mut rollback) = (null_mut(), null_mut());
        // SAFETY: The object is alive; no name stands for the booted stateroot. The call sets both places to NULL or to a
        // reference that is the caller's.
        unsafe {
            (functions.ostree_sysroot_query_deployments_for)(
                self.0.pointer(),
                null(),
                &raw mut pending,
                &raw mut rollback,
            );
            let take = |pointer| Object::take(functions, pointer).map(Deployment);
            (take(pending), take(rollback))
        }
    }

    pub fn deployments(&self) -> Vec<Deployment> {
        let functions = self.0.functions;
        // SAFETY: The object is alive. The call returns an array that is the caller's, of references that go with it: each
        // element gets another one before that.
        unsafe {
            let array = (functions.ostree_sysroot_get_deployments)(self.0.pointer());
            if array.is_null() {
                return Vec::new();
            }
            let found = (0..(*array).len as usize)
                .filter_map(|index| Object::borrow(functions, *(*array).data.add(index)).map(Deployment))
                .collect();
            (functions.g_ptr_array_unref)(array);
            found
        }
    }
}

/// An `OstreeDeployment`.
pub(super) struct Deployment(Object);

impl Deployment {
    /// Asks for a text that belongs to the deployment.
    fn text(&self, get: unsafe extern "C" fn(Pointer) -> Text) -> String {
        // SAFETY: `get` is one of the table's, for deployments; the object is alive, and so is its text while it is copied.
        unsafe { text(get(self.0.pointer())) }
    }

    fn number(&self, get: unsafe extern "C" fn(Pointer) -> c_int) -> i32 {
        // SAFETY: `get` is one of the table's, for deployments, and the object is alive.
        unsafe { get(self.0.pointer()) }
    }

    pub fn index(&self) -> i32 {
        self.number(self.0.functions.ostree_deployment_get_index)
    }

    pub fn serial(&self) -> i32 {
        self.number(self.0.functions.ostree_deployment_get_deployserial)
    }

    pub fn is_staged(&self) -> bool {
        self.number(self.0.functions.ostree_deployment_is_staged) != 0
    }

    pub fn is_pinned(&self) -> bool {
        self.number(self.0.functions.ostree_deployment_is_pinned) != 0
    }

    pub fn stateroot(&self) -> String {
        self.text(self.0.functions.ostree_deployment_get_osname)
    }

    pub fn checksum(&self) -> String {
        self.text(self.0.functions.ostree_deployment_get_csum)
    }

    /// The checksum of its kernel and initramfs.
    pub fn kernel(&self) -> String {
        self.text(self.0.functions.ostree_deployment_get_bootcsum)
    }

    pub fn equals(&self, other: &Self) -> bool {
        // SAFETY: Both objects are alive.
        unsafe { (self.0.functions.ostree_deployment_equal)(self.0.pointer(), other.0.pointer()) != 0 }
    }

    /// The paths of the overlays for its initramfs.
    pub fn overlays(&self) -> Vec<String> {
        let functions = self.0.functions;
        // SAFETY: The object is alive, and with it what it is booted by; both lists may be NULL, the second one ends with a
        // NULL, and is copied.
        unsafe {
            let configuration = (functions.ostree_deployment_get_bootconfig)(self.0.pointer());
            if configuration.is_null() {
                return Vec::new();
            }
            let mut paths = (functions.ostree_bootconfig_parser_get_overlay_initrds)(configuration);
            let mut found = Vec::new();
            while !paths.is_null() && !(*paths).is_null() {
                found.push(text(*paths));
                paths = paths.add(1);
            }
            found
        }
    }

    /// A value of its origin; None if it has no such key.
    pub fn origin(&self, group: &CStr, key: &CStr) -> Option<String> {
        let functions = self.0.functions;
        // SAFETY: The object is alive, and with it its origin, which may be NULL. The text is the caller's, copied and then
        // freed; without a place for an error there is none.
        unsafe {
            let origin = (functions.ostree_deployment_get_origin)(self.0.pointer());
            if origin.is_null() {
                return None;
            }
            let value = (functions.g_key_file_get_string)(origin, group.as_ptr(), key.as_ptr(), null_mut());
            if value.is_null() {
                return None;
            }
            let copy = text(value);
            (functions.g_free)(value.cast());
            Some(copy)
        }
    }
}

/// An `OstreeRepo` that is open. Its calls can be cancelled.
pub(super) struct Repo<'a> {
    object: Object,
    cancellable: &'a Cancellable,
}

impl<'a> Repo<'a> {
    pub fn open(path: &Path, cancellable: &'a Cancellable) -> Result<Outcome<Self>> {
        let functions = functions()?;
        let file = Object::file(functions, path)?;
        // SAFETY: The file is alive; the call takes a reference of its own, and returns a new one to the repository.
        let object = unsafe { made(Object::take(functions, (functions.ostree_repo_new)(file.pointer())))? };
        let repo = Self { object, cancellable };
        Ok(repo.call(functions.ostree_repo_open).map(|()| repo))
    }

    /// Makes a call that has no arguments of its own.
    fn call(&self, call: unsafe extern "C" fn(Pointer, Pointer, ErrorPlace) -> c_int) -> Outcome<()> {
        // SAFETY: `call` is one of the table's, for repositories; both objects are alive.
        checked(self.object.functions, |error| unsafe {
            call(self.object.pointer(), self.cancellable.0.pointer(), error)
        })
    }

    /// The names of the refs below a prefix.
    pub fn refs_below(&self, prefix: &CStr) -> Outcome<Vec<CString>> {
        let functions = self.object.functions;
        let mut table = null_mut();
        // SAFETY: The objects are alive and the prefix is NUL-terminated. No flags are set.
        checked(functions, |error| unsafe {
            (functions.ostree_repo_list_refs_ext)(
                self.object.pointer(),
                prefix.as_ptr(),
                &raw mut table,
                0,
                self.cancellable.0.pointer(),
                error,
            )
        })?;
        let mut found = Vec::new();
        let mut at = GHashTableIter { _private: [null_mut(); 6] };
        let (mut name, mut checksum) = (null_mut(), null_mut());
        // SAFETY: The call succeeded, so the table is the caller's. Its keys are texts, copied before it is given back.
        unsafe {
            (functions.g_hash_table_iter_init)(&raw mut at, table);
            while (functions.g_hash_table_iter_next)(&raw mut at, &raw mut name, &raw mut checksum) != 0 {
                found.push(CStr::from_ptr(name.cast_const().cast()).to_owned());
            }
            (functions.g_hash_table_unref)(table);
        }
        Ok(found)
    }

    /// Has a ref name a commit, or deletes it, at once.
    pub fn set_ref(&self, name: &CStr, commit: Option<&CStr>) -> Outcome<()> {
        let functions = self.object.functions;
        // SAFETY: The objects are alive and the texts are NUL-terminated. Remote and checksum may be NULL.
        checked(functions, |error| unsafe {
            (functions.ostree_repo_set_ref_immediate)(
                self.object.pointer(),
                null(),
                name.as_ptr(),
                commit.map_or(null(), CStr::as_ptr),
                self.cancellable.0.pointer(),
                error,
            )
        })
    }

    /// The commit of a ref; None if there is no such ref, or it can't be read.
    pub fn commit_of(&self, name: &CStr) -> Option<String> {
        let functions = self.object.functions;
        let mut found: *mut c_char = null_mut();
        // SAFETY: The object is alive and the name is NUL-terminated; a missing ref is no error.
        checked(functions, |error| unsafe {
            (functions.ostree_repo_resolve_rev)(
                self.object.pointer(),
                name.as_ptr(),
                1,
                &raw mut found,
                error,
            )
        })
        .ok()?;
        // SAFETY: The place holds NULL or a text that is the caller's, copied and then freed.
        unsafe {
            let commit = (!found.is_null()).then(|| text(found));
            (functions.g_free)(found.cast());
            commit
        }
    }
}

//! What must hold for whatever bytes a repository holds: nothing panics, and what is understood is what GLib and
//! libostree understand.
//!
//! The fuzz targets call these with what the fuzzer makes up, the crate's tests with the corpus.

#![allow(dead_code)] // Each target uses one.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use ostree::glib::{Bytes, Variant, VariantTy};
use ostree_sweep::plan::Plan;
use ostree_sweep::repo::config::Config;
use ostree_sweep::repo::delta as deltas;
use ostree_sweep::repo::mode::Mode;
use ostree_sweep::repo::object::{Checksum, ObjectName};
use ostree_sweep::repo::refs::{self, Ref};
use ostree_sweep::repo::variant::{self, Child, Malformed};

/// The value as GLib reads it from an untrusted file.
fn variant(data: &[u8], kind: &str) -> Variant {
    Variant::from_bytes_with_type(&Bytes::from(data), VariantTy::new(kind).unwrap())
}

fn checksum(value: &Variant, child: usize) -> Option<Checksum> {
    Checksum::from_bytes(&value.child_value(child).data_as_bytes())
}

/// What is decoded is what GLib decodes, and all is decoded that libostree takes for valid.
pub fn commit(data: &[u8]) {
    let value = variant(data, "(a{sv}aya(say)sstayay)");
    match variant::commit(data) {
        Ok(commit) => {
            assert_eq!(commit.parent, checksum(&value, 1));
            assert!(commit.parent.is_some() || value.child_value(1).n_children() == 0);
            assert_eq!(Some(u64::from_be(commit.timestamp)), value.child_value(5).get());
            assert_eq!(Some(commit.root_tree), checksum(&value, 6));
            assert_eq!(Some(commit.root_meta), checksum(&value, 7));
        }
        Err(Malformed(reason)) => {
            assert!(ostree::validate_structureof_commit(&value).is_err(), "{reason}");
        }
    }
}

/// As for commits: not one child is overlooked.
pub fn dirtree(data: &[u8]) {
    let value = variant(data, "(a(say)a(sayay))");
    let mut found = Vec::new();
    match variant::dirtree(data, |_, child| found.push(child)) {
        Ok(()) => {
            let files = value.child_value(0).iter().map(|file| checksum(&file, 1).map(Child::File)).collect();
            let directories = value
                .child_value(1)
                .iter()
                .map(|directory| Some(Child::Directory(checksum(&directory, 1)?, checksum(&directory, 2)?)));
            let mut theirs: Vec<_> = files;
            theirs.extend(directories);
            assert_eq!(found.into_iter().map(Some).collect::<Vec<_>>(), theirs);
        }
        Err(Malformed(reason)) => {
            // To GLib nothing at all is an empty tuple; `ostree` never writes that.
            assert!(data.is_empty() || ostree::validate_structureof_dirtree(&value).is_err(), "{reason}");
        }
    }
}

/// A dirmeta that libostree takes for valid is one.
pub fn dirmeta(data: &[u8]) {
    let value = variant(data, "(uuua(ayay))");
    match variant::dirmeta(data) {
        Ok(()) => {
            let mode: u32 = value.child_value(2).get().unwrap();
            assert_eq!(u32::from_be(mode) & 0o170_000, 0o040_000);
        }
        Err(Malformed(reason)) => {
            assert!(ostree::validate_structureof_dirmeta(&value).is_err(), "{reason}");
        }
    }
}

/// An entry that is taken for an object's is the one at which that object is looked for.
pub fn object(data: &[u8]) {
    if let Some(file) = ObjectName::from_payload_link(data) {
        let path = file.loose_path(Mode::Bare);
        assert!(data[3..].starts_with(path.strip_suffix("file").unwrap().trim_end_matches('.').as_bytes()));
    }
    let Some((&directory, entry)) = data.split_first() else { return };
    for mode in [Mode::Bare, Mode::BareUser, Mode::BareUserOnly, Mode::BareSplitXattrs, Mode::Archive] {
        if let Some(object) = ObjectName::from_entry(directory, entry, mode) {
            let path = object.loose_path(mode);
            let (first, rest) = path.split_once('/').unwrap();
            assert_eq!((first, rest.as_bytes()), (format!("{directory:02x}").as_str(), entry));
            ostree::validate_checksum_string(&object.checksum.to_string()).unwrap();
        }
    }
}

/// Settings are read or refused.
pub fn config(data: &[u8]) {
    let Ok(text) = std::str::from_utf8(data) else { return };
    if let Ok(config) = Config::parse(text, Path::new("config")) {
        assert!(config.remotes.iter().all(|remote| text.contains(remote)));
    }
}

/// The name is what stands before the first NUL, the content what stands behind it.
pub fn reference(data: &[u8]) {
    let mut parts = data.splitn(2, |b| *b == 0);
    let (name, content) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    match refs::target(name, content) {
        Ok(Some(target)) => {
            let text = std::str::from_utf8(content).unwrap().trim_end();
            assert_eq!(text, target.to_string());
            ostree::validate_checksum_string(text).unwrap();
            for kind in ["heads", "remotes", "mirrors"] {
                let path = Path::new("refs").join(kind).join(OsStr::from_bytes(name));
                let spec = Ref { path, target, is_alias: false, file: (0, 0) }.spec();
                assert!(kind != "heads" || spec.as_bytes() == name || std::str::from_utf8(name).is_err());
            }
        }
        // What libostree would list must not be passed over.
        Ok(None) => {
            let listed = std::str::from_utf8(name).is_ok_and(|name| ostree::validate_rev(name).is_ok());
            assert!(!listed || name.iter().any(|b| matches!(b, b'/' | b':')));
        }
        Err(_) => {}
    }
}

/// A delta's name ends with what libostree writes for its target.
pub fn delta(data: &[u8]) {
    if let Some(target) = deltas::target(data) {
        let bytes = ostree::Checksum::from_hex(&target.to_string()).unwrap();
        assert!(data.ends_with(bytes.to_base64().as_bytes()));
    }
}

/// A plan that is decoded can be asked for everything.
pub fn plan(content: &[u8]) {
    let Ok(plan) = Plan::from_content(content) else { return };
    assert_eq!(plan.names().count(), plan.len());
    for dropped in &plan.header().dropped {
        assert!(plan.reached_by(dropped.commit).is_none_or(|reached| reached.count() <= plan.len()));
    }
}

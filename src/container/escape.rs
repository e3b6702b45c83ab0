//! Names of images and layers, and the refs that stand for them.
//!
//! The table is that of ostree-ext's `refescape`: ASCII letters, digits and `-` stand for themselves, `_` is written
//! `__`, a `/` stays only between a letter or digit and more text, and everything else is `_HEX_`, its code point in
//! upper-case hexadecimal digits.

use std::fmt::Write;

/// Where images are.
pub const IMAGES: &str = "ostree/container/image";

/// Where layers are.
pub const LAYERS: &str = "ostree/container/blob";

/// The last parts of the ref for `name`.
pub fn escape(name: &str) -> String {
    let mut escaped = String::with_capacity(name.len());
    let mut after_alphanumeric = false;
    let mut rest = name.chars();
    while let Some(c) = rest.next() {
        let has_more = !rest.as_str().is_empty();
        match c {
            c if c.is_ascii_alphanumeric() => escaped.push(c),
            '-' => escaped.push(c),
            '/' if after_alphanumeric && has_more => escaped.push(c),
            '_' => escaped.push_str("__"),
            // Writing to a string does not fail.
            other => drop(write!(escaped, "_{:02X}_", u32::from(other))),
        }
        after_alphanumeric = c.is_ascii_alphanumeric();
    }
    escaped
}

/// The name that a ref's last parts stand for; None if no name is escaped so.
pub fn unescape(escaped: &str) -> Option<String> {
    let mut name = String::with_capacity(escaped.len());
    let mut rest = escaped;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            name.push(c);
            continue;
        }
        let (code, after) = rest.split_once('_')?;
        rest = after;
        name.push(if code.is_empty() { '_' } else { char::from_u32(u32::from_str_radix(code, 16).ok()?)? });
    }
    // ostree-ext reads more than it writes; a name that it does not write so is shown as it is.
    (!name.is_empty() && escape(&name) == escaped).then_some(name)
}

/// The name of the image that a ref below `refs/heads` stands for.
pub fn image_of(reference: &str) -> Option<String> {
    unescape(below(reference, IMAGES)?)
}

/// The digest of the layer that a ref below `refs/heads` stands for.
pub fn layer_of(reference: &str) -> Option<String> {
    unescape(below(reference, LAYERS)?)
}

/// A ref's name as people know it: an image by its own name, a layer by its digest, a package as rpm-ostree calls it.
pub fn readable(reference: &str) -> Option<String> {
    image_of(reference).or_else(|| layer_of(reference)).or_else(|| package_of(reference))
}

/// The package that a ref of rpm-ostree's below `rpmostree/pkg` stands for, as `NAME/EVR.ARCH`.
///
/// rpm-ostree writes `_` as `__` and all but letters, digits, `.` and `-` as `_` and two hexadecimal digits.
fn package_of(reference: &str) -> Option<String> {
    let mut name = String::new();
    let mut rest = below(reference, "rpmostree/pkg")?;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        if c != '_' {
            name.push(c);
        } else if let Some(after) = rest.strip_prefix('_') {
            rest = after;
            name.push('_');
        } else {
            name.push(char::from(u8::from_str_radix(rest.get(..2)?, 16).ok()?));
            rest = rest.get(2..)?;
        }
    }
    Some(name)
}

/// The rest of a ref's name below `prefix`.
pub(super) fn below<'a>(reference: &'a str, prefix: &str) -> Option<&'a str> {
    reference.strip_prefix(prefix)?.strip_prefix('/')
}

#[cfg(test)]
mod tests {
    use super::*;

    /// As ostree-ext 0.15.3 writes them.
    const TABLE: [(&str, &str); 12] = [
        ("docker://quay.io/a_b:1", "docker_3A__2F__2F_quay_2E_io/a__b_3A_1"),
        ("docker://localhost:5077/a/b_c:1", "docker_3A__2F__2F_localhost_3A_5077/a/b__c_3A_1"),
        ("sha256:0123abcd", "sha256_3A_0123abcd"),
        ("ostree-unverified-registry:q/x-y", "ostree-unverified-registry_3A_q/x-y"),
        ("oci:/var/tmp/x", "oci_3A__2F_var/tmp/x"),
        ("a/b/", "a/b_2F_"),
        ("a-/b", "a-_2F_b"),
        ("a_/b", "a___2F_b"),
        ("a//b", "a/_2F_b"),
        ("_", "__"),
        ("é", "_E9_"),
        ("a@sha256:1", "a_40_sha256_3A_1"),
    ];

    #[test]
    fn names_are_escaped_as_ostree_ext_does_and_back() {
        for (name, escaped) in TABLE {
            assert_eq!(escape(name), escaped);
            assert_eq!(unescape(escaped).as_deref(), Some(name));
        }
    }

    #[test]
    fn every_short_name_comes_back() {
        let letters = ['a', 'Z', '0', '-', '_', '/', ':', '.', 'é'];
        let mut names = vec![String::new()];
        for _ in 0..4 {
            names = names
                .iter()
                .flat_map(|name| letters.iter().map(move |letter| format!("{name}{letter}")))
                .collect();
            for name in &names {
                assert_eq!(unescape(&escape(name)).as_deref(), Some(name.as_str()));
            }
        }
    }

    #[test]
    fn what_ostree_ext_never_writes_is_no_name() {
        for escaped in ["", "_", "_3A", "_3a_", "_41_", "_zz_", "_110000_", "a.b", "_2F_a/"] {
            assert_eq!(unescape(escaped), None, "{escaped}");
        }
    }

    #[test]
    fn packages_of_rpm_ostree_have_their_own_way() {
        assert_eq!(
            readable("rpmostree/pkg/libstdc_2B_2B/1_3A2.0-1.x86__64").as_deref(),
            Some("libstdc++/1:2.0-1.x86_64")
        );
        assert_eq!(readable("rpmostree/pkg/a_").as_deref(), None);
        assert_eq!(readable("rpmostree/pkg/a_zz").as_deref(), None);
        assert_eq!(readable("rpmostree/base/0"), None);
    }

    #[test]
    fn only_refs_below_the_right_place_are_images_or_layers() {
        assert_eq!(image_of("ostree/container/image/a_3A_b").as_deref(), Some("a:b"));
        assert_eq!(layer_of("ostree/container/blob/sha256_3A_1").as_deref(), Some("sha256:1"));
        for other in ["ostree/container/imagefoo/a", "ostree/container/image", "x/ostree/container/image/a"] {
            assert_eq!(image_of(other), None);
        }
    }
}

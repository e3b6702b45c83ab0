//! Patterns that match the names of refs.

use std::cmp::Reverse;

use serde::{Deserialize, Serialize};

/// A ref's name as `ostree refs` prints it, or a pattern of such names.
///
/// `*` matches any text within one part of a name: none of the separators `/`, `:`, and those of a mirrored ref,
/// `(COLLECTION, REF)`. `**` matches any text, and `**/` also nothing, so that `a/**/b` matches `a/b`. No ref's own name
/// can hold a `*`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(transparent)]
pub struct Pattern(String);

/// How narrow a pattern is; of two that match one ref, the greater one decides.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Specificity {
    is_name: bool,
    /// Bytes that are no wildcards.
    literals: usize,
    /// Wildcards that match separators.
    across: Reverse<usize>,
}

enum Token {
    Literal(u8),
    /// `*`
    Part,
    /// `**`
    Any,
    /// `**/` where a part begins
    Parts,
}

impl Pattern {
    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it is a single ref's name.
    pub(super) fn is_name(&self) -> bool {
        !self.0.contains('*')
    }

    pub(super) fn specificity(&self) -> Specificity {
        let (mut literals, mut across) = (0, 0);
        for token in self.tokens() {
            match token {
                Token::Literal(_) => literals += 1,
                Token::Part => {}
                Token::Any | Token::Parts => across += 1,
            }
        }
        Specificity { is_name: self.is_name(), literals, across: Reverse(across) }
    }

    /// Whether the pattern matches a ref's name.
    pub fn matches(&self, name: &str) -> bool {
        let name = name.as_bytes();
        // Whether the tokens so far match the first N bytes of the name.
        let mut matched = vec![false; name.len() + 1];
        matched[0] = true;
        for token in self.tokens() {
            match token {
                Token::Literal(byte) => {
                    for (length, found) in name.iter().enumerate().rev() {
                        matched[length + 1] = matched[length] && *found == byte;
                    }
                    matched[0] = false;
                }
                Token::Part => {
                    for (length, found) in name.iter().enumerate() {
                        matched[length + 1] |= matched[length] && !b"/:(,) ".contains(found);
                    }
                }
                Token::Any => {
                    let first = matched.iter().position(|is_match| *is_match).unwrap_or(matched.len());
                    matched[first..].fill(true);
                }
                Token::Parts => {
                    let mut seen = false;
                    for (length, found) in name.iter().enumerate() {
                        seen |= matched[length];
                        matched[length + 1] |= seen && *found == b'/';
                    }
                }
            }
        }
        matched[name.len()]
    }

    fn tokens(&self) -> impl Iterator<Item = Token> + '_ {
        let mut rest = self.0.as_bytes();
        let mut begins_part = true;
        std::iter::from_fn(move || {
            let (&first, after) = rest.split_first()?;
            let stars = rest.iter().take_while(|byte| **byte == b'*').count();
            let is_parts = stars > 1 && begins_part && rest.get(stars) == Some(&b'/');
            let token = match stars {
                0 => Token::Literal(first),
                1 => Token::Part,
                _ if is_parts => Token::Parts,
                _ => Token::Any,
            };
            rest = if stars == 0 { after } else { &rest[stars + usize::from(is_parts)..] };
            begins_part = is_parts || matches!(token, Token::Literal(b'/' | b':'));
            Some(token)
        })
    }
}

impl From<String> for Pattern {
    fn from(text: String) -> Self {
        Self(text)
    }
}

#[cfg(test)]
mod tests {
    use super::Pattern;

    fn pattern(text: &str) -> Pattern {
        Pattern::from(text.to_owned())
    }

    #[test]
    fn a_star_stays_within_a_part_and_two_cross_parts() {
        for (text, matched, unmatched) in [
            ("os/stable", &["os/stable"][..], &["os/stable2", "os", "xos/stable", "origin:os/stable"][..]),
            ("os/*", &["os/a", "os/stable"], &["os", "os/a/b", "origin:os/a"]),
            ("os/s*e", &["os/stable", "os/se"], &["os/s", "os/s/e", "os/stables"]),
            ("*/x86_64", &["os/x86_64"], &["os/a/x86_64", "x86_64"]),
            ("os/**", &["os/a", "os/a/b"], &["os", "osx"]),
            ("os/**/x", &["os/x", "os/a/x", "os/a/b/x"], &["os/ax", "osx"]),
            ("**/x", &["x", "a/x", "a/b/x"], &["ax"]),
            ("**", &["a", "a/b", "origin:a/b", "(org.x, a)"], &[]),
            ("*", &["a"], &["a/b", "origin:a", "(org.x, a)"]),
            ("*:os/*", &["origin:os/a"], &["os/a", "origin:os/a/b"]),
            ("(org.x, *)", &["(org.x, a)"], &["(org.x, a/b)", "(org.y, a)", "a"]),
            ("", &[], &["a"]),
        ] {
            for name in matched {
                assert!(pattern(text).matches(name), "{text} {name}");
            }
            for name in unmatched {
                assert!(!pattern(text).matches(name), "{text} {name}");
            }
        }
    }

    #[test]
    fn long_patterns_take_no_exponential_time() {
        let name = "a".repeat(2000);
        assert!(!pattern(&format!("{}b", "*a".repeat(500))).matches(&name));
    }

    #[test]
    fn a_name_is_more_specific_than_a_pattern_and_a_longer_text_than_a_shorter() {
        let ascending = ["**", "*", "os/**", "os/*", "os/s*", "os/stabl*", "x"];
        for pair in ascending.windows(2) {
            assert!(pattern(pair[0]).specificity() < pattern(pair[1]).specificity(), "{pair:?}");
        }
        assert_eq!(pattern("a*").specificity(), pattern("*b").specificity());
    }
}

//! What each root holds: alone, and together with others.
//!
//! Roots are walked one after the other, and each object remembers who came by last, and whether somebody else had
//! been there before. So the time it takes is that of walking each root's objects once, and the memory does not grow
//! with the number of roots.

use std::collections::{BTreeMap, BTreeSet, HashSet};

use super::fold::{fold, Group};
use super::graph::{Graph, Number};
use super::space::{self, Size, Space};
use super::{look_until_certain, roots, Root, RootKind, ViewOptions};
use crate::container::layers;
use crate::control::{Control, Phase};
use crate::error::{Error, Result};
use crate::mark::RootSource;
use crate::repo::object::{Checksum, ObjectName, ObjectType};
use crate::repo::Repo;
use crate::workers::Crew;

const NOBODY: u32 = u32::MAX;

/// What a root holds.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Holder {
    /// What it is.
    pub kind: RootKind,
    /// Its name.
    pub name: String,
    /// The commit it leads to; None for a remote, which is all of its refs, and for several layers.
    pub commit: Option<Checksum>,
    /// The refs that are counted, as libostree writes them; none for a deployment.
    pub refs: Vec<String>,
    /// What nobody else keeps: a prune frees it if this root is dropped.
    pub exclusive: Space,
    /// What others keep, too.
    pub shared: Space,
}

/// What holds a repository's space.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Usage {
    /// Deployments, remotes and refs, in this order, who holds most of the disk alone first.
    pub holders: Vec<Holder>,
    /// All objects.
    pub total: Space,
    /// What nobody keeps.
    pub garbage: Space,
    /// How many commits are among it: a prune that is not told to go by refs keeps them, with all that they reach.
    pub unreferenced_commits: u64,
    /// Files of static deltas and their indexes; None where we may not look.
    pub deltas: Option<Space>,
    /// Files of unfinished downloads and caches, in `tmp`; None where we may not look.
    pub tmp: Option<Space>,
    /// Files that nothing owns and libostree never deletes; None where we may not look.
    pub leftover_files: Option<Space>,
    /// Refs that keep nothing, for their commits are missing.
    pub dangling_refs: Vec<(String, Checksum)>,
}

/// Finds out what holds the space in `repo`.
///
/// # Locking
/// The shared lock for a moment, if something is missing.
pub(crate) fn usage(
    repo: &Repo,
    sources: &mut dyn RootSource,
    options: ViewOptions,
    crew: Crew,
    control: &Control,
) -> Result<Usage> {
    let look = || usage_now(repo, sources, options, crew, control);
    look_until_certain(repo, options, control, look, |found| match found {
        Err(Error::Corrupt { object, .. }) => [object.clone()].into(),
        _ => BTreeSet::new(),
    })
}

fn usage_now(
    repo: &Repo,
    sources: &mut dyn RootSource,
    options: ViewOptions,
    crew: Crew,
    control: &Control,
) -> Result<Usage> {
    let (roots, dangling) = roots(repo, sources, options, control)?;
    let images = layers::find(repo, sources, control)?;
    // Marks before commits, as a mark may go meanwhile.
    let partial = repo.partial_commits()?;
    let mut graph = Graph::list(repo, crew, control)?;
    let mut remotes: BTreeMap<Option<&str>, Vec<&Root>> = BTreeMap::new();
    for root in &roots {
        remotes.entry(root.remote.as_deref()).or_default().push(root);
    }
    let named_remotes = remotes.keys().any(Option::is_some);
    control.enter(Phase::Crawl, graph.readable() as u64);

    let groups = fold(&roots, &images);
    let each: Vec<&[&Root]> = groups.iter().map(|group| &group.roots[..]).collect();
    let Account { held, garbage, total, unreferenced_commits } =
        account(&mut graph, &each, &partial, control)?;
    let mut holders: Vec<Holder> = groups.iter().zip(held).map(|(group, held)| held.of(group)).collect();
    if named_remotes {
        let groups: Vec<_> = remotes
            .into_iter()
            .map(|(name, roots)| Group {
                kind: RootKind::Remote,
                name: name.unwrap_or_default().into(),
                roots,
            })
            .collect();
        let each: Vec<&[&Root]> = groups.iter().map(|group| &group.roots[..]).collect();
        let by_remote = account(&mut graph, &each, &partial, control)?.held;
        let named = groups.iter().zip(by_remote).filter(|(group, _)| !group.name.is_empty());
        holders.extend(named.map(|(group, held)| held.of(group)));
    }
    holders.sort_by(|one, other| {
        let size =
            |holder: &Holder| std::cmp::Reverse((holder.exclusive.disk_bytes, holder.shared.disk_bytes));
        (one.kind, size(one), &one.name).cmp(&(other.kind, size(other), &other.name))
    });
    let dangling_refs = dangling.iter().map(|reference| (reference.spec(), reference.target)).collect();
    let deltas = space::below(repo, "deltas", control)?;
    let indexes = space::below(repo, "delta-indexes", control)?;
    let deltas = deltas.zip(indexes).map(|(deltas, indexes)| deltas.and(indexes));
    let tmp = space::below(repo, "tmp", control)?;
    let leftover_files = space::leftover_files(repo, control)?;
    Ok(Usage { holders, total, garbage, unreferenced_commits, deltas, tmp, leftover_files, dangling_refs })
}

#[derive(Clone, Copy, Default)]
struct Held {
    all: Space,
    exclusive: Space,
}

impl Held {
    fn of(self, group: &Group) -> Holder {
        let commit = match group.kind {
            RootKind::Remote | RootKind::UnneededLayers => None,
            _ => group.roots.first().map(|root| root.commit),
        };
        Holder {
            kind: group.kind,
            name: group.name.clone(),
            commit,
            refs: group.roots.iter().filter_map(|root| root.spec.clone()).collect(),
            exclusive: self.exclusive,
            shared: self.all.less(self.exclusive),
        }
    }
}

struct Account {
    held: Vec<Held>,
    total: Space,
    garbage: Space,
    unreferenced_commits: u64,
}

/// What an object remembers.
#[derive(Clone, Copy)]
struct Visits {
    last: u32,
    by_several: bool,
}

/// Adds up what each group of roots reaches.
fn account(
    graph: &mut Graph,
    groups: &[&[&Root]],
    partial: &HashSet<Checksum>,
    control: &Control,
) -> Result<Account> {
    let unseen = Visits { last: NOBODY, by_several: false };
    let mut visits = vec![unseen; graph.len()];
    let mut held = vec![Held::default(); groups.len()];
    let mut stack = Vec::new();
    for (owner, group) in (0..).zip(groups) {
        for root in *group {
            for (commit, whole) in commits_of(graph, root, partial)? {
                stack.push(commit);
                while let Some(number) = stack.pop() {
                    control.check_or_rest()?;
                    if whole && graph.is_missing(number) {
                        return Err(Error::corrupt(graph.name(number), "it is missing"));
                    }
                    if visits.len() < graph.len() {
                        visits.resize(graph.len(), unseen);
                    }
                    let seen = &mut visits[number as usize];
                    if seen.last == owner {
                        continue;
                    }
                    seen.by_several |= seen.last != NOBODY;
                    seen.last = owner;
                    if is_here(graph, number) {
                        held[owner as usize].all.add(graph.size(number));
                    }
                    graph.children(number, &mut stack)?;
                    if whole && graph.is_missing(number) {
                        return Err(Error::corrupt(graph.name(number), "it is missing"));
                    }
                }
            }
        }
    }
    let (mut total, mut garbage) = (Space::default(), Space::default());
    let mut unreferenced_commits = 0;
    for (number, seen) in (0..).zip(&visits) {
        let is_listed = (number as usize) < graph.listed();
        if is_listed {
            total.add(graph.size(number));
        }
        if seen.last == NOBODY {
            if is_listed {
                garbage.add(graph.size(number));
                unreferenced_commits += u64::from(graph.name(number).kind == ObjectType::Commit);
            }
        } else if !seen.by_several && is_here(graph, number) {
            held[seen.last as usize].exclusive.add(graph.size(number));
        }
    }
    Ok(Account { held, total, garbage, unreferenced_commits })
}

/// Whether this repository has an object itself.
fn is_here(graph: &Graph, number: Number) -> bool {
    (number as usize) < graph.listed() || graph.size(number) != Size::default()
}

/// The commits that a root keeps, and whether all that they reach has to be there.
fn commits_of(graph: &mut Graph, root: &Root, partial: &HashSet<Checksum>) -> Result<Vec<(Number, bool)>> {
    let mut found = Vec::new();
    let mut next = Some(graph.number(ObjectName::new(root.commit, ObjectType::Commit))?);
    let mut left = root.depth.unwrap_or(u32::MAX);
    while let Some(commit) = next {
        let parent = graph.parent(commit)?;
        if graph.is_missing(commit) {
            if found.is_empty() {
                let object = graph.name(commit);
                return Err(Error::corrupt(&root.name, format!("it refers to {object}, which is missing")));
            }
            break;
        }
        found.push((commit, !partial.contains(&graph.name(commit).checksum)));
        if left == 0 {
            break;
        }
        left -= u32::from(left != u32::MAX);
        next = parent;
    }
    Ok(found)
}

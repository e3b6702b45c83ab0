use std::collections::HashMap;

use super::*;
use crate::test_repo::{checksum, Damage, Dice, TestRepo};

/// A commit as the model sees it.
struct Node {
    commit: Checksum,
    parent: Option<usize>,
    time: u64,
}

/// Two branches that fork after the second commit; made at times that go up, down and stay.
fn histories(files: &TestRepo, times: [u64; 6]) -> Vec<Node> {
    let mut nodes: Vec<Node> = Vec::new();
    for (number, parent) in [None, Some(0), Some(1), Some(2), Some(1), Some(4)].into_iter().enumerate() {
        let parents = parent.map_or("none".into(), |parent: usize| nodes[parent].commit.to_string());
        let tree = files.path();
        let commit = files.ostree(&[
            "commit",
            "--orphan",
            &format!("--parent={parents}"),
            &format!("--subject={number}"),
            &format!("--timestamp=@{}", times[number]),
            tree.join("tmp/cache").to_str().unwrap(),
        ]);
        nodes.push(Node { commit: checksum(&commit), parent, time: times[number] });
    }
    nodes
}

/// What a start keeps: itself, so many parents, and those made since, up to the first that is older.
fn expected(nodes: &[Node], start: usize, keep: Keep) -> HashSet<Checksum> {
    let mut found = HashSet::new();
    let (mut at, mut generation, mut is_young) = (Some(start), 0, true);
    while let Some(number) = at {
        let Node { commit, parent, time } = nodes[number];
        is_young &= keep.since.is_some_and(|since| time >= since);
        if generation > 0 && !is_young && keep.depth.is_some_and(|depth| generation > depth) {
            break;
        }
        found.insert(commit);
        (at, generation) = (parent, generation + 1);
    }
    found
}

fn follow(
    history: &mut History,
    repo: &Repo,
    starts: &[Start],
    partial: &HashSet<Checksum>,
    live: &LiveSet,
    control: &Control,
) -> Result<Vec<Root>> {
    let following = Following { ignored: None, partial, is_locked: true, deadline: None };
    let (roots, is_complete) = history.follow(repo, starts, following, live, control)?;
    assert!(is_complete);
    Ok(roots)
}

#[test]
fn starts_keep_what_each_of_them_keeps_whatever_their_order() {
    let mut dice = Dice(1);
    for times in [[1, 2, 3, 4, 3, 4], [3, 3, 2, 3, 1, 3], [4, 1, 4, 2, 2, 2]] {
        let files = TestRepo::new("bare");
        let (nodes, repo, control) = (histories(&files, times), files.open(), Control::new());
        let check = |starts: &[(usize, Keep)]| {
            let as_starts: Vec<_> = starts
                .iter()
                .map(|(node, keep)| Start { commit: nodes[*node].commit, keep: *keep, required_by: None })
                .collect();
            let (mut history, live) = (History::default(), LiveSet::default());
            let roots = follow(&mut history, &repo, &as_starts, &HashSet::new(), &live, &control).unwrap();
            let expected: HashSet<_> =
                starts.iter().flat_map(|(node, keep)| expected(&nodes, *node, *keep)).collect();
            assert_eq!(history.commits().collect::<HashSet<_>>(), expected, "{times:?} {starts:?}");
            // Each is new once.
            assert_eq!(roots.len(), expected.len(), "{times:?} {starts:?}");
            assert_eq!(roots.iter().map(|root| root.commit).collect::<HashSet<_>>(), expected);
        };
        let keeps: Vec<_> = [Some(0), Some(1), Some(2), Some(3), None]
            .into_iter()
            .flat_map(|depth| {
                [None, Some(1), Some(2), Some(3), Some(4), Some(5)].map(|since| Keep { depth, since })
            })
            .collect();
        for start in 0..nodes.len() {
            for keep in &keeps {
                check(&[(start, *keep)]);
            }
        }
        for _ in 0..2000 {
            let starts: Vec<_> = (0..2 + dice.below(2))
                .map(|_| (dice.below(nodes.len()), keeps[dice.below(keeps.len())]))
                .collect();
            check(&starts);
        }
    }
}

#[test]
fn a_start_that_is_missing_is_an_error_if_somebody_named_it() {
    let files = TestRepo::new("bare");
    let nodes = histories(&files, [1; 6]);
    let (repo, control, live) = (files.open(), Control::new(), LiveSet::default());
    let follow = |commit, required_by: Option<&str>, ignored| {
        let start = Start { commit, keep: Keep::ALL, required_by: required_by.map(Into::into) };
        let partial = HashSet::new();
        let following = Following { ignored, partial: &partial, is_locked: true, deadline: None };
        History::default().follow(&repo, &[start], following, &live, &control).map(|(roots, _)| roots)
    };
    let absent = Checksum([7; 32]);
    assert_eq!(follow(absent, None, None).unwrap(), []);
    let named = follow(absent, Some("a ref"), None).unwrap_err().to_string();
    assert!(named.contains("a ref") && named.contains(&absent.to_string()), "{named}");
    // What is to be deleted counts as not being there, and so does all behind it.
    assert_eq!(follow(nodes[3].commit, None, Some(nodes[1].commit)).unwrap().len(), 2);
    assert!(follow(nodes[3].commit, Some("a ref"), Some(nodes[3].commit)).is_err());
}

#[test]
fn a_history_can_be_gone_on_with_from_its_record() {
    let files = TestRepo::new("bare");
    let nodes = histories(&files, [1; 6]);
    let (repo, control) = (files.open(), Control::new());
    let mut history = History::default();
    let partial = HashSet::from([nodes[2].commit]);
    let start = |keep| [Start { commit: nodes[3].commit, keep, required_by: None }];
    let keep = Keep { depth: Some(1), since: None };
    let roots = follow(&mut history, &repo, &start(keep), &partial, &LiveSet::default(), &control).unwrap();
    assert_eq!(
        roots.iter().map(|root| (root.commit, root.partial)).collect::<Vec<_>>(),
        [(nodes[3].commit, false), (nodes[2].commit, true)]
    );
    let (whole, apart) = history.split(&partial);
    assert_eq!(whole.commits().collect::<Vec<_>>(), [nodes[3].commit]);
    assert_eq!(apart.commits().collect::<Vec<_>>(), [nodes[2].commit]);
    let left: HashMap<_, _> =
        history.as_starts().map(|start| (start.commit, (start.keep, start.required_by))).collect();
    assert_eq!(left[&nodes[3].commit], (keep, None));
    assert_eq!(left[&nodes[2].commit], (Keep::ALONE, None));
    // Nothing new, unless more is to be kept.
    let live = LiveSet::default();
    assert_eq!(follow(&mut history, &repo, &start(keep), &partial, &live, &control).unwrap(), []);
    let more = Keep { depth: None, since: None };
    assert_eq!(follow(&mut history, &repo, &start(more), &partial, &live, &control).unwrap().len(), 4);
}

#[test]
fn without_a_lock_a_start_that_is_missing_may_come_back() {
    let files = TestRepo::new("bare");
    let nodes = histories(&files, [1; 6]);
    let (repo, control, live, partial) = (files.open(), Control::new(), LiveSet::default(), HashSet::new());
    let following = Following { ignored: None, partial: &partial, is_locked: false, deadline: None };
    let tip = nodes[3].commit;
    let start = [Start { commit: tip, keep: Keep::ALL, required_by: Some("a ref".into()) }];
    let mut history = History::default();
    Damage::Missing.during(&files, ObjectName::new(tip, ObjectType::Commit), || {
        assert_eq!(history.follow(&repo, &start, following, &live, &control).unwrap(), (vec![], true));
    });
    assert_eq!(history.ends().collect::<Vec<_>>(), [&tip]);
    let back = history.after_end(tip).unwrap();
    assert_eq!((back.commit, back.keep), (tip, Keep::ALL));
}

use std::time::Duration;

use super::*;
use crate::sweep::Limits;
use crate::test_repo::{with_crew, TestRepo};

#[test]
fn a_delta_whose_superblock_can_not_be_deleted_stays_whole() {
    let files = TestRepo::new("bare");
    let commit = files.commit("main", &[("file", "1")]);
    files.ostree(&["static-delta", "generate", "--empty", &format!("--to={commit}")]);
    let repo = files.open();
    let mut report = PruneReport::default();
    with_crew(&repo, 1, |crew, control| {
        let context = Context {
            repo: &repo,
            control,
            crew,
            dry_run: false,
            limits: Limits::default(),
            deltas_of: Some(commit),
            observer: None,
            plan: None,
            unprotects: false,
            links: &Links::default(),
        };
        let mut deltas = Deltas::list(context, &mut report).unwrap();
        let candidate = &deltas.candidates[0];
        let delta = files.path().join(candidate.parent()).join(&candidate.name);
        // Directory entries come in any order: of so many, some come before the superblock.
        for number in 0..50 {
            std::fs::write(delta.join(number.to_string()), "").unwrap();
        }
        let entries = || {
            let listed = rustix::fs::Dir::read_from(std::fs::File::open(&delta).unwrap()).unwrap();
            listed.count()
        };
        let before = entries();
        let later = Some(Instant::now() + Duration::from_secs(60));
        rustix::fs::unlink(delta.join("superblock")).unwrap();
        std::fs::create_dir(delta.join("superblock")).unwrap();
        deltas.run(context, &LiveSet::default(), &mut report, later).unwrap();
        assert_eq!(entries(), before);
        assert_eq!(report.failures.len(), 1);

        // Without a superblock it is the rest of one that was cut off.
        rustix::fs::rmdir(delta.join("superblock")).unwrap();
        let mut deltas = Deltas::list(context, &mut report).unwrap();
        deltas.run(context, &LiveSet::default(), &mut report, later).unwrap();
        assert!(!delta.exists());
    });
}

//! The deployments there will be once a staged one is finalized.

use std::collections::HashMap;
use std::path::Path;

use super::{host, Owner};
use crate::control::Control;
use crate::error::Result;
use crate::mark::keep::Keep;
use crate::mark::retention::Retention;
use crate::mark::roots::Start;
use crate::mark::RootSource;
use crate::plan::{self, Plan, PlanOptions};
use crate::repo::object::Checksum;
use crate::repo::refs::Ref;
use crate::repo::Repo;

/// Plans what a cleanup of the sysroot at `path` will delete: once its staged deployment is finalized, or now if there
/// is none. Of the `options`, what to keep is not heeded. Writes nothing.
///
/// # Locking
/// The repository's shared lock, for a moment.
pub fn plan(path: &Path, options: &PlanOptions, control: &Control) -> Result<Plan> {
    let path = host::sysroot(path)?;
    let repo = Repo::open(&path.join("ostree/repo"))?;
    let mut owner = Owner::open(path, None, control)?;
    let retention = Retention::of_sysroot();
    let options = PlanOptions { retention: &retention, ..*options };
    let make = |sources: &mut dyn RootSource, dropped: &HashMap<Checksum, Vec<String>>| {
        let names = |commit: Checksum| dropped.get(&commit).cloned().unwrap_or_default();
        plan::make(&repo, Some(path), sources, &names, &options, control)
    };
    let Some((kept, dropped)) = owner.listing.after_finalization(&owner.host)? else {
        return make(&mut owner, &HashMap::new());
    };
    let mut names: HashMap<_, Vec<_>> = HashMap::new();
    for (name, commit) in dropped {
        names.entry(commit).or_default().push(name);
    }
    make(&mut Future { kept }, &names)
}

struct Future {
    kept: Vec<(String, Checksum)>,
}

impl RootSource for Future {
    fn roots(&mut self) -> Result<Vec<Start>> {
        let keep = Keep::ALONE;
        let starts = self.kept.iter();
        Ok(starts
            .map(|(name, commit)| Start { commit: *commit, keep, required_by: Some(name.clone()) })
            .collect())
    }

    fn in_use(&mut self) -> Result<Vec<Start>> {
        Ok(Vec::new())
    }

    /// Finalization writes the deployment refs anew.
    fn outdates(&self, reference: &Ref) -> bool {
        super::listing::is_deployment_ref(&reference.path)
    }
}

//! Every seed, and every input that once was a finding, runs through its target; and each target has some.

use std::{collections::BTreeSet, error::Error, fs, path::Path};

use cargo_metadata::MetadataCommand;
use reeve_fuzz::TARGETS;

type Fallible = Result<(), Box<dyn Error>>;

fn seeds() -> Result<std::path::PathBuf, Box<dyn Error>> {
    let metadata = MetadataCommand::new().no_deps().exec()?;
    Ok(metadata.workspace_root.join("fuzz/seeds").into_std_path_buf())
}

fn names(folder: &Path) -> Result<BTreeSet<String>, Box<dyn Error>> {
    fs::read_dir(folder)?.map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned())).collect()
}

#[test]
fn every_target_has_seeds_and_every_folder_a_target() -> Fallible {
    let targets: BTreeSet<String> = TARGETS.iter().map(|target| target.name.to_owned()).collect();
    assert_eq!(names(&seeds()?)?, targets);
    for target in &targets {
        assert!(!names(&seeds()?.join(target))?.is_empty(), "{target} has no seeds");
    }
    Ok(())
}

#[test]
fn no_seed_is_a_finding() -> Fallible {
    for target in TARGETS {
        let folder = seeds()?.join(target.name);
        for name in names(&folder)? {
            // Shown if it fails.
            println!("{}/{name}", target.name);
            (target.run)(&fs::read(folder.join(name))?);
        }
    }
    Ok(())
}

#[test]
fn beginnings_and_small_changes_of_seeds_are_no_findings() -> Fallible {
    for target in TARGETS {
        let folder = seeds()?.join(target.name);
        for name in names(&folder)? {
            let seed = fs::read(folder.join(&name))?;
            for position in 0..seed.len().min(400) {
                println!("{}/{name} at {position}", target.name);
                (target.run)(&seed[..position]);
                let mut changed = seed.clone();
                changed[position] ^= 1 << (position % 8);
                (target.run)(&changed);
                changed.remove(position);
                (target.run)(&changed);
            }
        }
    }
    Ok(())
}

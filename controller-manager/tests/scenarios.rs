//! Text scenarios: a command a line, the expected writes of the controllers below it.
//!
//! The world is a map of objects in memory that performs actions as the API server would. Run with `REWRITE=1` to
//! write the observed output into `testdata/`; commit only what you understand.

mod world;

use std::path::Path;

use proptest::prelude::*;
use world::World;

fn run(text: &str) -> String {
    let mut world = World::new();
    let mut out = String::new();
    for line in text.lines() {
        if line.starts_with("  ") {
            continue;
        }
        out.push_str(line);
        out.push('\n');
        if line.trim().is_empty() || line.starts_with('#') {
            continue;
        }
        for told in world.command(line) {
            out.push_str("  ");
            out.push_str(&told);
            out.push('\n');
        }
    }
    out
}

#[test]
fn scenarios() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata");
    let mut files: Vec<_> = std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|path| path.extension().is_some_and(|extension| extension == "txt"));
    files.sort();
    assert!(!files.is_empty(), "no scenarios in {}", folder.display());
    let mut different = Vec::new();
    for path in files {
        let expected = std::fs::read_to_string(&path).unwrap();
        let observed = run(&expected);
        if observed == expected {
            continue;
        }
        if std::env::var_os("REWRITE").is_some() {
            std::fs::write(&path, observed).unwrap();
            continue;
        }
        let line = expected.lines().zip(observed.lines()).position(|(expected, observed)| expected != observed);
        let line = line.unwrap_or_else(|| expected.lines().count().min(observed.lines().count()));
        different.push(format!(
            "{}:{}:\n  expected {:?}\n  observed {:?}",
            path.display(),
            line + 1,
            expected.lines().nth(line),
            observed.lines().nth(line)
        ));
    }
    assert!(different.is_empty(), "{}", different.join("\n"));
}

/// What happens between turns.
#[derive(Clone, Debug)]
enum Step {
    Image(u8),
    Ready(u8),
    Gone,
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        1 => (0_u8..4).prop_map(Step::Image),
        4 => (1_u8..4).prop_map(Step::Ready),
        2 => Just(Step::Gone),
        6 => Just(Step::Turn),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    /// However images change and pods come up, there are never more pods than replicas and surge, and the
    /// controllers never take away an available pod that is needed. In the end all is as asked for.
    #[test]
    fn rollouts_stay_between_their_limits(
        replicas in 0_i32..8,
        surge in 0_i32..4,
        unavailable in 0_i32..4,
        steps in prop::collection::vec(step(), 0..60),
    ) {
        let mut world = World::new();
        let (size, surge_field) = (format!("replicas={replicas}"), format!("maxSurge={surge}"));
        let unavailable_field = format!("maxUnavailable={unavailable}");
        let apply = |world: &mut World, image: u8| {
            world.apply("web", &[&size, &surge_field, &unavailable_field, &format!("image=v{image}")]);
        };
        apply(&mut world, 0);
        world.settle();
        world.pods_ready("all", true);
        world.settle();
        let unavailable = if surge == 0 && unavailable == 0 { 1 } else { unavailable };
        let least = usize::try_from((replicas - unavailable).max(0)).unwrap();
        let most = usize::try_from(replicas + surge).unwrap();
        let available = |world: &World| world.pods().iter().filter(|pod| pod.readiness.ready).count();
        let mut image = 0;
        for step in steps {
            match step {
                Step::Image(new) => {
                    image = new;
                    apply(&mut world, image);
                }
                Step::Ready(count) => world.pods_ready(&count.to_string(), true),
                Step::Gone => world.remove_deleted_pods(),
                Step::Turn => {
                    let before = available(&world);
                    world.turn(&mut vec![]);
                    prop_assert!(world.pods().len() <= most, "{} pods, {most} allowed", world.pods().len());
                    let after = available(&world);
                    prop_assert!(after >= before.min(least), "{after} of {before} available, {least} needed");
                }
            }
        }
        // Each round a kubelet brings up what was made; a rollout needs no more rounds than pods.
        for _ in 0..=2 * most {
            world.settle();
            world.pods_ready("all", true);
            world.remove_deleted_pods();
        }
        world.settle();
        let wanted = format!("image=v{image} ");
        let shown = world.command("show");
        let current = shown.iter().find(|line| line.contains(&wanted)).unwrap();
        prop_assert!(current.contains(&format!("wants={replicas} has={replicas} ready={replicas}")), "{shown:?}");
        prop_assert_eq!(world.pods().len(), usize::try_from(replicas).unwrap());
    }
}

//! Text scenarios: a command a line, what is decided below it. `REWRITE=1` writes the observed output.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::Path;

use super::*;
use jiff::SignedDuration;
use serde_json::Value;

/// Ranges, addresses, and the time.
struct World {
    ranges: BTreeMap<String, Value>,
    addresses: Vec<IpAddr>,
    now: Timestamp,
}

impl World {
    fn command(&mut self, line: &str) -> Vec<String> {
        let words: Vec<&str> = line.split(' ').collect();
        match words[..] {
            ["range", name, ..] => {
                let cidrs = &words[2..];
                let metadata = json!({"name": name, "uid": format!("u-{name}"), "resourceVersion": "1"});
                self.ranges.insert(name.to_owned(), json!({"metadata": metadata, "spec": {"cidrs": cidrs}}));
            }
            ["delete", name] => {
                self.ranges.get_mut(name).unwrap()["metadata"]["deletionTimestamp"] = json!(Time(self.now))
            }
            ["hold", name, finalizer] => {
                self.ranges.get_mut(name).unwrap()["metadata"]["finalizers"] = json!([finalizer]);
            }
            ["address", address] => self.addresses.push(address.parse().unwrap()),
            ["free", address] => self.addresses.retain(|one| one.to_string() != address),
            ["wait", seconds] => self.now += SignedDuration::from_secs(seconds.parse().unwrap()),
            _ => panic!("no such command: {line}"),
        }
        self.settle()
    }

    /// Turns until nothing is decided any more.
    fn settle(&mut self) -> Vec<String> {
        let mut told = Vec::new();
        for _ in 0..10 {
            let views: Vec<Arc<ServiceRangeView>> =
                self.ranges.values().map(|range| Arc::new(serde_json::from_value(range.clone()).unwrap())).collect();
            let mut written = false;
            for view in &views {
                for action in reconcile(view, &views, || self.addresses.clone(), self.now) {
                    let name = &*view.metadata.name;
                    match action {
                        Action::Patch { patch, .. } => {
                            let finalizers = patch["metadata"]["finalizers"].clone();
                            told.push(format!("{name}: finalizers {finalizers}"));
                            let metadata = &mut self.ranges.get_mut(name).unwrap()["metadata"];
                            metadata["finalizers"] = finalizers.clone();
                            if !metadata["deletionTimestamp"].is_null() && finalizers == json!([]) {
                                told.push(format!("{name}: gone"));
                                self.ranges.remove(name);
                            }
                            written = true;
                        }
                        Action::SetCondition { type_, mut fields, .. } => {
                            let text = |field: &str| fields[field].as_str().unwrap().to_owned();
                            let (status, reason, message) = (text("status"), text("reason"), text("message"));
                            told.push(format!("{name}: {type_} {status} {reason:?} {message}"));
                            fields["type"] = json!(type_);
                            self.ranges.get_mut(name).unwrap()["status"] = json!({"conditions": [fields]});
                            written = true;
                        }
                        Action::Again(after) => told.push(format!("{name}: again in {} s", after.as_secs())),
                        other => panic!("{other}"),
                    }
                }
            }
            if !written {
                return told;
            }
            told.retain(|line| !line.contains("again in"));
        }
        panic!("it does not come to rest: {told:?}");
    }
}

#[test]
fn scenarios() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("testdata/service_range/deletion.txt");
    let expected = std::fs::read_to_string(&path).unwrap();
    let start = || World { ranges: BTreeMap::new(), addresses: vec![], now: "2026-01-01T00:00:00Z".parse().unwrap() };
    let mut world = start();
    let mut observed = String::new();
    for line in expected.lines().filter(|line| !line.starts_with("  ")) {
        observed.push_str(line);
        observed.push('\n');
        match line.chars().next() {
            None => {}
            Some('#') => world = start(),
            Some(_) => world.command(line).iter().for_each(|told| observed.push_str(&format!("  {told}\n"))),
        }
    }
    if std::env::var_os("REWRITE").is_some() {
        std::fs::write(&path, &observed).unwrap();
        return;
    }
    assert_eq!(observed, expected, "REWRITE=1 accepts the difference");
}

#[test]
fn ranges_are_compared_by_their_addresses() {
    let range = |text| Range::parse(text).unwrap();
    assert!(range("10.0.0.0/8").contains(range("10.9.0.0/16")) && !range("10.9.0.0/16").contains(range("10.0.0.0/8")));
    assert!(range("0.0.0.0/0").has("255.255.255.255".parse().unwrap()) && range("::/0").has("ff::1".parse().unwrap()));
    assert!(!range("::/0").has("10.0.0.1".parse().unwrap()), "of another version");
    assert!(
        range("fd00::/112").has("fd00::ffff".parse().unwrap())
            && !range("fd00::/112").has("fd00::1:0".parse().unwrap())
    );
    assert_eq!(["10.0.0.0", "10.0.0.0/33", "x/8"].map(Range::parse), [None; 3]);
}

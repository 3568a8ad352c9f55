//! The targets and their names.

mod objects;
mod patches;
mod requests;
mod streams;
mod words;

/// A target.
pub struct Target {
    /// Its name, and that of its folder of seeds.
    pub name: &'static str,
    /// Tries an input. Panics if it is a finding.
    pub run: fn(&[u8]),
}

/// All targets.
pub const TARGETS: &[Target] = &[
    Target { name: "planted", run: planted },
    Target { name: "json", run: objects::json },
    Target { name: "yaml", run: objects::yaml },
    Target { name: "protobuf", run: objects::protobuf },
    Target { name: "cut", run: objects::cut },
    Target { name: "json-patch", run: patches::json_patch },
    Target { name: "merge-patch", run: patches::merge_patch },
    Target { name: "strategic-patch", run: patches::strategic },
    Target { name: "apply", run: patches::apply },
    Target { name: "field-set", run: patches::field_set },
    Target { name: "selectors", run: words::selectors },
    Target { name: "quantities", run: words::quantities },
    Target { name: "times", run: words::times },
    Target { name: "continue-tokens", run: words::continue_tokens },
    Target { name: "paths", run: requests::paths },
    Target { name: "queries", run: requests::queries },
    Target { name: "accept", run: requests::accept },
    Target { name: "channels", run: streams::channels },
    Target { name: "spdy", run: streams::spdy },
    Target { name: "dns", run: streams::dns },
];

/// A defect on purpose, behind conditions that only an engine that follows coverage meets: if it does not find this
/// one, its silence on the others means nothing.
fn planted(data: &[u8]) {
    let mut depth = 0;
    for (given, wanted) in data.iter().zip(b"fuzz") {
        if given != wanted {
            break;
        }
        depth += 1;
    }
    assert!(depth < 4, "the planted defect");
}

/// An input as lines, for targets that take several values.
fn lines<const COUNT: usize>(data: &[u8]) -> Option<[&[u8]; COUNT]> {
    let mut parts = data.splitn(COUNT, |byte| *byte == b'\n');
    let mut lines = [&data[..0]; COUNT];
    for line in &mut lines {
        *line = parts.next()?;
    }
    Some(lines)
}

/// A JSON value, as the body of a request is read.
fn value(json: &[u8]) -> Option<serde_json::Value> {
    serde_json::from_slice(json).ok()
}

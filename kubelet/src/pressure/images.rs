//! Which images are removed when their file system fills up: those that nobody uses, the longest unused first, until
//! enough is free (`pkg/kubelet/images/image_gc_manager.go`). Pure.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use jiff::Timestamp;

use super::signals::Amount;
use crate::pod::backoff::after;

/// When images are removed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImagePolicy {
    /// Above this part of the file system, in percent, images are removed. 100 removes none.
    pub high_percent: i64,
    /// Until it is below this.
    pub low_percent: i64,
    /// None that was used or pulled since.
    pub minimum_age: Duration,
}

/// An image on the node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Image {
    /// The runtime's id.
    pub id: String,
    /// Its size in bytes.
    pub size: i64,
    /// It must not be removed (the sandboxes' image).
    pub pinned: bool,
}

/// When each image was first seen and last used; lost with the process, which only makes images younger.
#[derive(Clone, Debug, Default)]
pub struct ImageRecords {
    records: BTreeMap<String, (Timestamp, Option<Timestamp>)>,
}

impl ImageRecords {
    /// Takes in what is there and what of it is in use.
    pub fn observe(&mut self, images: &[Image], used: &BTreeSet<String>, now: Timestamp) {
        self.records.retain(|id, _| images.iter().any(|it| it.id == *id));
        for image in images {
            let record = self.records.entry(image.id.clone()).or_insert((now, None));
            if used.contains(&image.id) {
                record.1 = Some(now);
            }
        }
    }

    /// The images to remove: until enough is free by the policy, or all that nobody uses.
    pub fn victims(
        &self,
        images: &[Image],
        disk: Amount,
        policy: ImagePolicy,
        all: bool,
        now: Timestamp,
    ) -> Vec<String> {
        let used_percent = 100 - disk.available.saturating_mul(100) / disk.capacity.max(1);
        let wanted = if all {
            i64::MAX
        } else if policy.high_percent < 100 && used_percent >= policy.high_percent {
            disk.capacity / 100 * (100 - policy.low_percent) - disk.available
        } else {
            return Vec::new();
        };
        let mut free: Vec<(&Image, Timestamp, Timestamp)> = images
            .iter()
            .filter(|it| !it.pinned)
            .filter_map(|it| {
                let (seen, used) = self.records.get(&it.id).copied()?;
                Some((it, used.unwrap_or(Timestamp::UNIX_EPOCH), seen))
            })
            // What is in use now was used now.
            .filter(|(_, used, seen)| *used < now && after(*seen, policy.minimum_age) <= now)
            .collect();
        free.sort_by_key(|(image, used, seen)| (*used, *seen, image.id.clone()));
        let mut freed = 0;
        let mut victims = Vec::new();
        for (image, _, _) in free {
            if freed >= wanted {
                break;
            }
            freed += image.size;
            victims.push(image.id.clone());
        }
        victims
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const POLICY: ImagePolicy =
        ImagePolicy { high_percent: 85, low_percent: 80, minimum_age: Duration::from_secs(120) };

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn image(id: &str) -> Image {
        Image { id: id.into(), size: 30, pinned: id == "pause" }
    }

    fn disk(available: i64) -> Amount {
        Amount { available, capacity: 1000 }
    }

    #[test]
    fn the_longest_unused_go_until_enough_is_free() {
        let images = ["old", "used", "pause", "older", "new"].map(image);
        let mut records = ImageRecords::default();
        let using = |ids: &[&str]| ids.iter().map(|it| (*it).to_owned()).collect();
        records.observe(&images[..4], &using(&["old", "used", "older"]), at(0));
        records.observe(&images[..4], &using(&["old", "used"]), at(10));
        records.observe(&images, &using(&["used"]), at(200));
        // 200 of 1000 are to be free.
        let victims = |available, all| records.victims(&images, disk(available), POLICY, all, at(200)).join(" ");
        assert_eq!(victims(160, false), "");
        assert_eq!(victims(150, false), "older old");
        assert_eq!(victims(0, false), "older old");
        assert_eq!(victims(500, true), "older old");
        let never = ImagePolicy { high_percent: 100, ..POLICY };
        assert!(records.victims(&images, disk(0), never, false, at(200)).is_empty());
        // Later the new one is old enough too.
        assert_eq!(records.victims(&images, disk(0), POLICY, false, at(320)).join(" "), "older new old used");
    }
}

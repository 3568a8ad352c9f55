//! Answers of upstream, remembered as long as they say.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use hickory_proto::op::{Message, Query, ResponseCode};
use hickory_proto::rr::{RData, RecordType};

/// How many answers are kept: a few hundred kilobytes at the usual size.
const ENTRIES_MAX: usize = 1_000;

/// The longest an answer is kept, in seconds (default of upstream's configuration).
const SECONDS_MAX: u32 = 30;

/// Remembered answers.
#[derive(Default)]
pub struct Cache {
    entries: HashMap<Query, (Message, Instant, u32)>,
}

impl Cache {
    /// An answer that still holds, with its times counted down.
    pub fn get(&self, query: &Query, now: Instant) -> Option<Message> {
        let (message, since, seconds) = self.entries.get(query)?;
        let age = u32::try_from(now.saturating_duration_since(*since).as_secs()).unwrap_or(u32::MAX);
        if age >= *seconds {
            return None;
        }
        let mut message = message.clone();
        for record in message.answers.iter_mut().chain(message.authorities.iter_mut()) {
            record.decrement_ttl(age);
        }
        Some(message)
    }

    /// Remembers an answer, if it allows that.
    pub fn put(&mut self, query: Query, message: Message, now: Instant) {
        let Some(seconds) = lifetime(&message) else { return };
        if self.entries.len() >= ENTRIES_MAX {
            self.entries.retain(|_, (_, since, seconds)| now < *since + Duration::from_secs((*seconds).into()));
        }
        if self.entries.len() < ENTRIES_MAX {
            self.entries.insert(query, (message, now, seconds));
        }
    }
}

/// Seconds for which the answer holds: the shortest of its records, or what the authority says about absence.
fn lifetime(message: &Message) -> Option<u32> {
    if message.metadata.truncation
        || !matches!(message.metadata.response_code, ResponseCode::NoError | ResponseCode::NXDomain)
    {
        return None;
    }
    let absence = message.authorities.iter().find_map(|record| match &record.data {
        RData::SOA(soa) => Some(record.ttl.min(soa.minimum)),
        _ => None,
    });
    let presence = message.answers.iter().filter(|record| record.record_type() != RecordType::OPT).map(|r| r.ttl).min();
    presence.or(absence).map(|seconds| seconds.min(SECONDS_MAX)).filter(|seconds| *seconds > 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use hickory_proto::op::OpCode;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, Record};

    #[test]
    fn answers_hold_as_long_as_they_say_and_count_down() {
        let name = Name::from_ascii("example.org.").expect("a name");
        let query = Query::query(name.clone(), RecordType::A);
        let mut message = Message::response(1, OpCode::Query);
        message.add_answer(Record::from_rdata(name, 10, RData::A(A::new(192, 0, 2, 1))));
        let mut cache = Cache::default();
        let start = Instant::now();
        cache.put(query.clone(), message.clone(), start);
        let at = |seconds| start + Duration::from_secs(seconds);
        let ttl = cache.get(&query, at(4)).and_then(|m| m.answers.first().map(|record| record.ttl));
        assert_eq!(ttl, Some(6));
        assert_eq!(cache.get(&query, at(10)), None);
        message.metadata.response_code = ResponseCode::ServFail;
        let mut cache = Cache::default();
        cache.put(query.clone(), message, start);
        assert_eq!(cache.get(&query, start), None);
    }
}

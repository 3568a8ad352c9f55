//! Questions and answers as bytes. Whatever arrives, nothing here panics.

use hickory_proto::op::{Message, MessageType, Metadata, OpCode, Query, ResponseCode};
use hickory_proto::rr::{DNSClass, Record, RecordType};

use super::zone::{Answer, Zone};

/// The size of a UDP answer for those who do not say that they take more (RFC 1035, section 4.2.1).
const UDP_MIN: u16 = 512;

/// The largest UDP answer: fragments get lost (the DNS flag day's advice).
const UDP_MAX: u16 = 1232;

/// The bytes of a header.
const HEADER: usize = 12;

/// How the question came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// One datagram each way.
    Udp,
    /// A stream.
    Tcp,
}

/// What is to be done with bytes that arrived.
pub enum Decision {
    /// Send these bytes.
    Reply(Vec<u8>),
    /// Ask upstream.
    Forward(Question),
    /// Ask upstream for the target of an alias and put the alias before it.
    Follow(Question, Vec<Record>),
    /// Say nothing: no question, or no telling to whom the answer belongs.
    Ignore,
}

/// A question that upstream has to answer.
pub struct Question {
    /// The message as it came.
    pub request: Message,
    /// What to ask.
    pub query: Query,
    /// How it came.
    pub transport: Transport,
}

/// Decides about bytes that arrived.
pub fn decide(zone: &Zone, bytes: &[u8], transport: Transport) -> Decision {
    let request = match Message::from_vec(bytes) {
        Ok(request) => request,
        Err(_) => return malformed(bytes),
    };
    if request.metadata.message_type != MessageType::Query {
        return Decision::Ignore;
    }
    if request.metadata.op_code != OpCode::Query {
        return refuse(&request, transport, ResponseCode::NotImp);
    }
    let [query] = request.queries.as_slice() else {
        return refuse(&request, transport, ResponseCode::FormErr);
    };
    if request.edns.as_ref().is_some_and(|edns| edns.version() != 0) {
        return refuse(&request, transport, ResponseCode::BADVERS);
    }
    let query = query.clone();
    if !matches!(query.query_class, DNSClass::IN | DNSClass::ANY) {
        return refuse(&request, transport, ResponseCode::Refused);
    }
    if matches!(query.query_type, RecordType::AXFR | RecordType::IXFR) {
        return refuse(&request, transport, ResponseCode::Refused);
    }
    let mut response = response_to(&request);
    match resolve(zone, &query) {
        Resolved::NotOurs => return Decision::Forward(Question { request, query, transport }),
        Resolved::Follow(records, target) => {
            let query = Query::query(target, query.query_type);
            return Decision::Follow(Question { request, query, transport }, records);
        }
        Resolved::Done { answers, glue, code } => {
            response.metadata.authoritative = true;
            response.metadata.response_code = code;
            if answers.is_empty() || code != ResponseCode::NoError {
                response.authorities.extend(zone.authority());
            }
            response.answers = answers;
            rotate(&mut response.answers, request.metadata.id);
            response.additionals = glue;
        }
    }
    encode(&response, &request, transport).map_or(Decision::Ignore, Decision::Reply)
}

enum Resolved {
    NotOurs,
    Follow(Vec<Record>, hickory_proto::rr::Name),
    Done { answers: Vec<Record>, glue: Vec<Record>, code: ResponseCode },
}

impl Resolved {
    fn without_glue(answers: Vec<Record>, code: ResponseCode) -> Resolved {
        Resolved::Done { answers, glue: Vec::new(), code }
    }
}

/// How many aliases are followed inside of the zone.
const ALIASES_MAX: usize = 8;

fn resolve(zone: &Zone, query: &Query) -> Resolved {
    let mut records: Vec<Record> = Vec::new();
    let mut name = query.name.clone();
    for _ in 0..=ALIASES_MAX {
        match zone.answer(&name, query.query_type) {
            Answer::NotOurs if records.is_empty() => return Resolved::NotOurs,
            Answer::NotOurs => return Resolved::Follow(records, name),
            Answer::NoSuchName if records.is_empty() => return Resolved::without_glue(records, ResponseCode::NXDomain),
            Answer::NoSuchName | Answer::NoData => return Resolved::without_glue(records, ResponseCode::NoError),
            Answer::Records { answers, glue } => {
                let alias = match answers.as_slice() {
                    [Record { data: hickory_proto::rr::RData::CNAME(alias), .. }] => Some(alias.0.clone()),
                    _ => None,
                };
                records.extend(answers);
                match alias {
                    Some(target) if query.query_type != RecordType::CNAME => name = target,
                    _ => return Resolved::Done { answers: records, glue, code: ResponseCode::NoError },
                }
            }
        }
    }
    // Aliases in a circle lead nowhere.
    Resolved::without_glue(Vec::new(), ResponseCode::ServFail)
}

/// A response without records, with the request's question and identity.
pub fn response_to(request: &Message) -> Message {
    let mut response = Message::new(request.metadata.id, MessageType::Response, request.metadata.op_code);
    response.metadata = Metadata::response_from_request(&request.metadata);
    response.metadata.recursion_available = true;
    response.add_queries(request.queries.iter().cloned());
    if request.edns.is_some() {
        let mut edns = hickory_proto::op::Edns::new();
        edns.set_max_payload(UDP_MAX);
        response.set_edns(edns);
    }
    response
}

/// The bytes of a response, cut to what the asker takes: first what can be asked for, then what was asked for.
pub fn encode(response: &Message, request: &Message, transport: Transport) -> Option<Vec<u8>> {
    let limit = match transport {
        Transport::Tcp => usize::from(u16::MAX),
        Transport::Udp => usize::from(request.max_payload().clamp(UDP_MIN, UDP_MAX)),
    };
    let fitting = |response: &Message| response.to_vec().ok().filter(|bytes| bytes.len() <= limit);
    let without_glue = || {
        let mut short = response.clone();
        short.additionals.clear();
        fitting(&short)
    };
    fitting(response).or_else(without_glue).or_else(|| cut(response, fitting))
}

/// As many answers as fit. Asked again over TCP, it is whole; who does not ask again (older C libraries) has a part.
fn cut(response: &Message, fitting: impl Fn(&Message) -> Option<Vec<u8>>) -> Option<Vec<u8>> {
    let first = |count: usize| {
        let mut short = response.truncate();
        short.metadata.truncation = true;
        short.answers = response.answers.iter().take(count).cloned().collect();
        fitting(&short)
    };
    let (mut fits, mut is_too_much) = (0, response.answers.len());
    let mut best = first(fits);
    while fits + 1 < is_too_much {
        let middle = fits.midpoint(is_too_much);
        match first(middle) {
            Some(bytes) => (best, fits) = (Some(bytes), middle),
            None => is_too_much = middle,
        }
    }
    best
}

/// Begins the addresses at any of them, so that clients who take the first do not all take the same. The question's
/// number is as good as chance.
pub fn rotate(answers: &mut [Record], number: u16) {
    let is_address = |record: &Record| matches!(record.record_type(), RecordType::A | RecordType::AAAA);
    let begin = answers.iter().position(is_address).unwrap_or(answers.len());
    let Some(addresses) = answers.get_mut(begin..).filter(|addresses| addresses.iter().all(is_address)) else { return };
    if !addresses.is_empty() {
        addresses.rotate_left(usize::from(number) % addresses.len());
    }
}

/// A response that says what went wrong.
pub fn failure(request: &Message, transport: Transport, code: ResponseCode) -> Option<Vec<u8>> {
    let mut response = response_to(request);
    response.metadata.response_code = code;
    encode(&response, request, transport)
}

fn refuse(request: &Message, transport: Transport, code: ResponseCode) -> Decision {
    failure(request, transport, code).map_or(Decision::Ignore, Decision::Reply)
}

/// Bytes that are no message get a format error if they at least have a header of a question.
fn malformed(bytes: &[u8]) -> Decision {
    let Some(&[high, low, flags, ..]) = bytes.get(..HEADER) else { return Decision::Ignore };
    if flags & 0x80 != 0 {
        return Decision::Ignore;
    }
    let response = Message::error_msg(u16::from_be_bytes([high, low]), OpCode::Query, ResponseCode::FormErr);
    response.to_vec().map_or(Decision::Ignore, Decision::Reply)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::dns::zone::tests::zone;
    use hickory_proto::rr::rdata::A;
    use hickory_proto::rr::{Name, RData};
    use proptest::prelude::*;

    fn question(name: &str, kind: RecordType) -> Message {
        let mut message = Message::query();
        message.metadata.recursion_desired = true;
        message.add_query(Query::query(Name::from_ascii(name).expect("a name"), kind));
        message
    }

    fn reply(request: &Message, transport: Transport) -> Message {
        match decide(&zone(), &request.to_vec().expect("encodes"), transport) {
            Decision::Reply(bytes) => Message::from_vec(&bytes).expect("our own bytes"),
            _ => panic!("no reply"),
        }
    }

    #[test]
    fn absence_comes_with_the_authority_and_presence_without() {
        let request = question("nope.shop.svc.cluster.local.", RecordType::A);
        let absent = reply(&request, Transport::Udp);
        assert_eq!(absent.metadata.id, request.metadata.id);
        assert_eq!(absent.metadata.response_code, ResponseCode::NXDomain);
        assert!(absent.metadata.authoritative && absent.metadata.recursion_available);
        assert_eq!(absent.authorities.len(), 1);
        let none = reply(&question("web.shop.svc.cluster.local.", RecordType::AAAA), Transport::Udp);
        assert_eq!((none.metadata.response_code, none.authorities.len()), (ResponseCode::NoError, 1));
        let present = reply(&question("web.shop.svc.cluster.local.", RecordType::A), Transport::Udp);
        assert_eq!((present.answers.len(), present.authorities.len()), (1, 0));
        assert_eq!(present.answers.first().map(|record| record.ttl), Some(5));
    }

    #[test]
    fn addresses_of_targets_come_along_where_there_is_room() {
        let mut request = question("_sql._tcp.six.shop.svc.cluster.local.", RecordType::SRV);
        let answer = reply(&request, Transport::Udp);
        let kinds = |records: &[Record]| records.iter().map(Record::record_type).collect::<Vec<_>>();
        assert_eq!(kinds(&answer.answers), [RecordType::SRV; 2]);
        assert_eq!(kinds(&answer.additionals), [RecordType::A, RecordType::AAAA, RecordType::AAAA]);
        let mut large = response_to(&request);
        large.answers = answer.answers.clone();
        large.additionals = answer.additionals.iter().cycle().take(40).cloned().collect();
        request.edns = None;
        let bytes = encode(&large, &request, Transport::Udp).expect("encodes");
        let short = Message::from_vec(&bytes).expect("our own bytes");
        assert_eq!((short.answers.len(), short.additionals.len(), short.metadata.truncation), (2, 0, false));
    }

    #[test]
    fn what_is_too_long_is_cut_and_begins_anywhere() {
        let request = question("web.shop.svc.cluster.local.", RecordType::A);
        let mut long = response_to(&request);
        let name = request.queries.first().map(|query| query.name.clone()).expect("a question");
        let address = |last: u8| RData::A(A::new(10, 244, 0, last));
        long.answers = (0..100).map(|last| Record::from_rdata(name.clone(), 5, address(last))).collect();
        rotate(&mut long.answers, 30);
        assert_eq!(long.answers.first().map(|record| record.data.clone()), Some(address(30)));
        assert_eq!(long.answers.last().map(|record| record.data.clone()), Some(address(29)));
        let bytes = encode(&long, &request, Transport::Udp).expect("encodes");
        let short = Message::from_vec(&bytes).expect("our own bytes");
        // A header and a question of 44 bytes, and 16 bytes for each address.
        assert_eq!((bytes.len(), short.answers.len(), short.metadata.truncation), (44 + 29 * 16, 29, true));
        let bytes = encode(&long, &request, Transport::Tcp).expect("encodes");
        let whole = Message::from_vec(&bytes).expect("our own bytes");
        assert_eq!((whole.answers.len(), whole.metadata.truncation), (100, false));
    }

    #[test]
    fn strangers_are_forwarded_and_aliases_followed() {
        let decide = |name| {
            let bytes = question(name, RecordType::A).to_vec().expect("encodes");
            decide(&zone(), &bytes, Transport::Udp)
        };
        assert!(matches!(decide("example.org."), Decision::Forward(_)));
        match decide("far.shop.svc.cluster.local.") {
            Decision::Follow(question, records) => {
                assert_eq!(question.query.name.to_string(), "db.example.org.");
                assert_eq!(records.len(), 1);
            }
            _ => panic!("an alias is followed"),
        }
    }

    #[test]
    fn what_is_no_question_gets_an_error_or_nothing() {
        let mut update = question("web.shop.svc.cluster.local.", RecordType::A);
        update.metadata.op_code = OpCode::Update;
        assert_eq!(reply(&update, Transport::Tcp).metadata.response_code, ResponseCode::NotImp);
        let answer = Message::response(7, OpCode::Query).to_vec().expect("encodes");
        assert!(matches!(decide(&zone(), &answer, Transport::Udp), Decision::Ignore));
        assert!(matches!(decide(&zone(), &[1, 2, 3], Transport::Udp), Decision::Ignore));
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..600)) {
            decide(&zone(), &bytes, Transport::Udp);
        }

        #[test]
        fn no_damage_to_a_question_makes_it_panic(
            changes in proptest::collection::vec((0usize..64, any::<u8>()), 1..8),
            length in 0usize..64,
        ) {
            let mut bytes = question("_sql._tcp.db.shop.svc.cluster.local.", RecordType::SRV).to_vec().expect("encodes");
            for (position, value) in changes {
                if let Some(byte) = bytes.get_mut(position) {
                    *byte = value;
                }
            }
            bytes.truncate(bytes.len().saturating_sub(length / 8));
            decide(&zone(), &bytes, Transport::Tcp);
        }
    }
}

//! What a change costs with 10,000 Services and 100,000 endpoints in the kernel. Runs only with REEVE_BENCH=1.

#[allow(dead_code, reason = "each test file uses a part of the support")]
mod support;

use std::net::{Ipv4Addr, SocketAddrV4};
use std::time::Instant;

use reeve_api::ObjectKey;
use reeve_proxy::nft::model::Protocol;
use reeve_proxy::nft::{Kernel as _, Nft};
use reeve_proxy::services::RuleSet;
use reeve_proxy::services::frontend::{Endpoint, Frontend, FrontendKey, Side, Without};
use reeve_proxy::services::objects::{NodePortAddresses, Surroundings, TABLE};
use support::{Namespace, cannot_run, unique};

const SERVICES: u32 = 10_000;
const ENDPOINTS: u32 = 10;

fn service(index: u32, endpoints: u32) -> (ObjectKey, Vec<Frontend>) {
    let address = |base: u32, offset: u32| Ipv4Addr::from(base + offset);
    let endpoints = (0..endpoints)
        .map(|slot| Endpoint {
            address: SocketAddrV4::new(address(0x0af4_0000, index * ENDPOINTS + slot), 8080),
            local: false,
        })
        .collect();
    let frontend = Frontend {
        key: FrontendKey::Address(address(0x0a60_0100, index), Protocol::Tcp, 80),
        side: Side::Internal,
        endpoints,
        outside: None,
        without: Without::Reject,
        affinity: None,
        allowed: Vec::new(),
        exclusive: true,
        comment: format!("namespace-{}/service-{index}:http", index % 100).into(),
    };
    (ObjectKey::new("shop", format!("service-{index}").as_str()), vec![frontend])
}

#[test]
fn a_change_costs_the_same_with_ten_thousand_services() {
    if std::env::var_os("REEVE_BENCH").is_none() || cannot_run() {
        eprintln!("SKIPPED: REEVE_BENCH=1 runs this measurement");
        return;
    }
    let namespace = Namespace::new("scale", &unique());
    namespace.within(measure);
}

fn measure() {
    let mut kernel = Nft::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
    let mut rules = RuleSet::new(Surroundings {
        pod_networks: vec!["10.240.0.0/12".parse().expect("a network")],
        node_ports: NodePortAddresses::AllLocal,
        service_ranges: vec!["10.96.0.0/16".parse().expect("a network")],
    });
    let begin = Instant::now();
    rules.update((0..SERVICES).map(|index| service(index, ENDPOINTS)));
    println!("rule set built in {:?}", begin.elapsed());
    for what in ["first start", "restart"] {
        let begin = Instant::now();
        let existing = runtime.block_on(kernel.existing(TABLE)).expect("lists");
        println!("{what}: listed in {:?}", begin.elapsed());
        let whole = rules.whole(existing.as_ref()).expect("valid");
        let script = whole.to_string().len();
        println!("{what}: script of {script} bytes in {:?}", begin.elapsed());
        runtime.block_on(kernel.commit(&whole)).expect("applies");
        println!("{what}: whole rule set in the kernel in {:?}", begin.elapsed());
    }
    let (mut effective, mut complete) = (Vec::new(), Vec::new());
    for round in 0..60 {
        let goes = round % 2 == 0;
        let begin = Instant::now();
        let update = rules.update([service(round * 97, if goes { ENDPOINTS - 1 } else { ENDPOINTS + 1 })]);
        let transactions = update.transactions().expect("valid");
        // Where an endpoint goes, the last transaction only removes what nothing leads to any more.
        let switch = transactions.len() - if goes { 2 } else { 1 };
        for (index, transaction) in transactions.iter().enumerate() {
            runtime.block_on(kernel.commit(transaction)).expect("applies");
            if index == switch {
                effective.push(begin.elapsed());
            }
        }
        complete.push(begin.elapsed());
    }
    for (what, times) in [("in effect", &mut effective), ("complete", &mut complete)] {
        times.sort_unstable();
        let (median, worst) = (times.get(times.len() / 2).expect("many"), times.last().expect("many"));
        println!("one endpoint's change {what}: median {median:?}, worst {worst:?}");
    }
    // The median: the worst says more about what else the machine does.
    let median = effective.get(effective.len() / 2).expect("many");
    assert!(median.as_millis() < 100, "an endpoint's change is in the kernel within 100 ms");
}

use super::*;

fn plan() -> PeerPlan {
    let allowed = cpus::allowed().expect("readable");
    PeerPlan {
        cpus: Cpus {
            serving: allowed[0],
            loading: *allowed.last().expect("at least one"),
        },
        symbols: 50,
        warm_up: Duration::from_millis(50),
        time: Duration::from_millis(200),
    }
}

/// Every answer is compared with what must come; a wrong one is an error.
fn answers_rightly(workloads: &[Workload]) {
    let peer = workloads[0].peer();
    let Some(program) = peer.find() else {
        eprintln!("SKIPPED: {}", peer.absent());
        return;
    };
    for workload in workloads {
        let depth = workload.depths()[0];
        let measured = workload
            .measure(&program, depth, &plan())
            .expect("all answers are right");
        assert!(measured.verified > 0, "{measured:?}");
        let values = measured.requests_per_second * workload.values() as f64;
        assert!((measured.values_per_second - values).abs() <= values * 1e-9);
        assert!(measured.server_cpu_ns_per_request > 0.0, "{measured:?}");
        assert!(measured.value_figures().server_cpu_ns <= measured.figures().server_cpu_ns);
    }
}

#[test]
fn valkey_gives_back_the_values_it_was_given() {
    answers_rightly(&[Workload::ValkeyGet, Workload::ValkeyMget]);
}

#[test]
fn memcached_gives_back_the_values_it_was_given() {
    answers_rightly(&[Workload::MemcachedGetMany, Workload::MemcachedUdpGet]);
}

#[test]
fn nginx_gives_the_body_it_was_given() {
    answers_rightly(&[Workload::NginxStatic]);
}

#[test]
fn nsd_knows_every_name_of_its_zone() {
    answers_rightly(&[Workload::NsdQuery]);
}

#[test]
fn a_value_that_is_not_the_keys_is_an_error() {
    let Some(program) = Peer::Valkey.find() else {
        eprintln!("SKIPPED: {}", Peer::Valkey.absent());
        return;
    };
    let plan = plan();
    let stock = stock::Stock::new(40);
    let instance = valkey::start(&program, &stock, plan.cpus.serving).expect("started");
    assert!(valkey::get(&stock).do_once(instance.address).is_ok());
    let mut spoil = stream::Exchanges::default();
    let other = format!("SET price:S3-USD {}\r\n", "x".repeat(32));
    spoil.push(other.as_bytes(), b"+OK\r\n");
    spoil.do_once(instance.address).expect("set");
    for exchanges in [valkey::get(&stock), valkey::mget(&stock, 40)] {
        let error = exchanges
            .do_once(instance.address)
            .expect_err("another value than the key was given first");
        assert!(error.to_string().contains("the answer is \"xxx"), "{error:#}");
    }
}

use super::*;

fn stage(symbols: usize, keys: usize) -> Stage {
    let allowed = cpus::allowed().expect("readable");
    let cpus = Cpus {
        serving: allowed[0],
        loading: *allowed.last().expect("at least one"),
    };
    let mut stage = Stage::empty(cpus, symbols, keys).expect("drawn");
    stage.page().expect("answered");
    stage
}

fn plan(pipeline: usize, rate: Option<f64>) -> Plan {
    Plan {
        connections: 5,
        pipeline,
        rate,
        warm_up: Duration::from_millis(20),
        time: Duration::from_millis(150),
    }
}

#[test]
fn every_request_is_answered_rightly_and_billed_once_in_every_kind_of_loop() {
    let stage = stage(20, 3);
    for plan in [
        plan(1, None),
        plan(7, None),
        plan(1, Some(500.0)),
        plan(3, Some(500.0)),
    ] {
        let measured = stage.measure(Side::Server, &plan).expect("measured");
        assert!(measured.faults().is_empty(), "{measured:?}");
        let tally = measured.tally();
        assert_eq!(tally.sent, tally.verified, "nothing is left over");
    }
}

#[test]
fn a_refused_key_is_told_of_by_its_status() {
    let stage = stage(5, 1);
    let site = Site::start(stage.cpus.serving, &stage.population.symbols, &stage.keys).expect("started");
    let mut questions = stage.questions(Some(site.address));
    questions.keys = Keys::draw(1).expect("drawn").texts();
    let load = client::run(&questions, &plan(1, None), None).expect("run");
    assert_eq!(load.tally.verified, 0);
    assert_eq!(load.tally.errors.keys().collect::<Vec<_>>(), [&401]);
    assert!(
        fetch(&questions)
            .expect_err("refused")
            .to_string()
            .contains("401")
    );
}

#[test]
fn a_server_that_hangs_up_loses_what_it_owes_and_is_given_up() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").expect("bound");
    let address = listener.local_addr().expect("bound");
    // Takes a request, says nothing, and hangs up; ends when nobody has called for a while.
    let hangs_up = thread::spawn(move || {
        for _ in 0..1_100 {
            let Ok((mut stream, _)) = listener.accept() else {
                return;
            };
            if stream.read(&mut [0; 1]).is_ok_and(|count| count == 0) {
                return;
            }
        }
    });
    let stage = stage(5, 1);
    let mut one = plan(1, None);
    (one.connections, one.time) = (1, Duration::from_mins(1));
    let error = client::run(&stage.questions(Some(address)), &one, None)
        .map(|_| ())
        .expect_err("given up");
    assert!(error.to_string().contains("connections broke"), "{error:#}");
    drop(TcpStream::connect(address));
    hangs_up.join().expect("no panic");
}

#[test]
fn nginx_serves_the_same_body_in_turns_with_this_server_if_it_is_installed() {
    let Some(duel) = Duel::set(stage(1, 1).cpus, 5, 2).expect("prepared") else {
        eprintln!("SKIPPED: {}", Peer::Nginx.absent());
        return;
    };
    let plan = plan(4, None);
    let window = Window {
        connections: plan.connections,
        depth: plan.pipeline,
        warm_up: plan.warm_up,
        time: plan.time,
    };
    let (own, nginx) = duel.round(&window).expect("every answer is right");
    assert!(
        own.requests_per_second > 0.0 && own.server_cpu_ns > 0.0,
        "{own:?}"
    );
    assert!(
        nginx.requests_per_second > 0.0 && nginx.server_cpu_ns > 0.0,
        "{nginx:?}"
    );
}

#[test]
fn urls_rates_and_assets_are_understood_or_refused() {
    let (address, host, prefix) = parse_url("http://127.0.0.1:9090/v1/").expect("a URL");
    assert_eq!(address.to_string(), "127.0.0.1:9090");
    assert_eq!((host.as_str(), prefix.as_str()), ("127.0.0.1:9090", "/v1"));
    assert_eq!(parse_url("http://127.0.0.1").expect("a URL").0.port(), 80);
    for bad in [
        "https://127.0.0.1",
        "127.0.0.1:80",
        "http://",
        "http://127.0.0.1/?a",
        "http://a b/",
    ] {
        assert!(parse_url(bad).is_err(), "{bad}");
    }
    assert_eq!(rate("5000"), Ok(Rate::PerSecond(5_000.0)));
    assert_eq!(rate("60%"), Ok(Rate::OfPeak(0.6)));
    for bad in ["", "0", "-1", "0%", "101%", "NaN", "inf", "1e9"] {
        assert!(rate(bad).is_err(), "{bad}");
    }
    assert!(asset("btc-usd").is_ok());
    for bad in ["", "a b", "a&b", "\"", "ä"] {
        assert!(asset(bad).is_err(), "{bad}");
    }
}

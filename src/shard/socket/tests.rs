use std::net::UdpSocket;
use std::time::Duration;

use super::*;

fn pair(address: &str) -> (BatchSocket, UdpSocket) {
    let (mut group, bound, _) = bind_group(address.parse().expect("address"), 1).expect("bound");
    let client = UdpSocket::bind((bound.ip(), 0)).expect("client");
    client.connect(bound).expect("connected");
    client
        .set_read_timeout(Some(Duration::from_secs(5)))
        .expect("timeout");
    (BatchSocket::new(group.remove(0)), client)
}

/// Receives until `wanted` datagrams came in one batch or several.
fn receive_all(socket: &mut BatchSocket, wanted: usize, mut each: impl FnMut(&mut BatchSocket, usize)) {
    let mut seen = 0;
    for _ in 0..10_000 {
        socket.receive().expect("receives");
        loop {
            let count = socket.next_batch();
            if count == 0 {
                break;
            }
            each(socket, count);
            seen += count;
        }
        if seen == wanted {
            return;
        }
        std::thread::yield_now();
    }
    panic!("{seen} of {wanted} datagrams came");
}

#[test]
fn datagrams_come_whole_and_replies_go_back_to_their_senders() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut socket, client) = pair(address);
        let other = UdpSocket::bind((client.local_addr().expect("bound").ip(), 0)).expect("bound");
        other
            .connect(client.peer_addr().expect("connected"))
            .expect("connected");
        other
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        client.send(&[b'f'; 48]).expect("sent");
        other.send(&[b's'; 60]).expect("sent");
        receive_all(&mut socket, 2, |socket, count| {
            for i in 0..count {
                let (datagram, reply) = socket.exchange(i);
                let len = datagram.len();
                reply[..len].copy_from_slice(datagram);
                reply[..len].make_ascii_uppercase();
                socket.queue(i, len);
            }
            assert_eq!(socket.send(), 0);
        });
        let mut buffer = [0; 64];
        assert_eq!(
            client.recv(&mut buffer).map(|n| buffer[..n].to_vec()).ok(),
            Some(vec![b'F'; 48])
        );
        assert_eq!(
            other.recv(&mut buffer).map(|n| buffer[..n].to_vec()).ok(),
            Some(vec![b'S'; 60])
        );
    }
}

#[test]
fn a_port_that_another_server_uses_is_refused() {
    let (group, bound, _) = bind_group("127.0.0.1:0".parse().expect("address"), 2).expect("bound");
    let refused = bind_group(bound, 2).expect_err("taken");
    assert_eq!(refused.kind(), io::ErrorKind::AddrInUse);
    drop(group);
    bind_group(bound, 2).expect("free again");
}

#[test]
fn replies_to_one_peer_come_whole_and_in_order_with_and_without_segments() {
    for segments in [true, false] {
        let (mut socket, client) = pair("[::1]:0");
        socket.outgoing.segments = segments;
        let other = UdpSocket::bind("[::1]:0").expect("bound");
        other
            .connect(client.peer_addr().expect("connected"))
            .expect("connected");
        for i in 0..60_u8 {
            let sender = if i % 3 == 0 { &other } else { &client };
            sender.send(&vec![i; 48 + 32 * usize::from(i % 2)]).expect("sent");
        }
        receive_all(&mut socket, 60, |socket, count| {
            for i in 0..count {
                let (datagram, reply) = socket.exchange(i);
                let len = datagram.len();
                reply[..len].copy_from_slice(datagram);
                socket.queue(i, len);
            }
            assert_eq!(socket.send(), 0);
        });
        let (mut buffer, mut seen) = ([0; 128], Vec::new());
        for (receiver, count) in [(&other, 20), (&client, 40)] {
            receiver
                .set_read_timeout(Some(Duration::from_secs(5)))
                .expect("timeout");
            let mut of_length = [vec![], vec![]];
            for _ in 0..count {
                let len = receiver.recv(&mut buffer).expect("answered");
                let i = buffer[0];
                assert_eq!(buffer[..len], vec![i; 48 + 32 * usize::from(i % 2)]);
                of_length[usize::from(i % 2)].push(i);
                seen.push(i);
            }
            assert!(
                of_length.iter().all(|replies| replies.is_sorted()),
                "{of_length:?}"
            );
        }
        seen.sort_unstable();
        assert_eq!(seen, (0..60).collect::<Vec<_>>());
    }
}

#[test]
fn a_train_that_the_kernel_refuses_is_sent_apart() {
    let (mut socket, client) = pair("127.0.0.1:0");
    for i in 0..8_u8 {
        client.send(&[i; 80]).expect("sent");
    }
    receive_all(&mut socket, 8, |socket, count| {
        for i in 0..count {
            let (datagram, reply) = socket.exchange(i);
            let len = datagram.len();
            reply[..len].copy_from_slice(datagram);
            socket.queue(i, len);
        }
        socket.outgoing.arrange(&socket.incoming);
        socket.outgoing.load(&socket.incoming);
        let fd = socket.as_raw_fd();
        let failed = (0..socket.outgoing.trains()).map(|train| socket.outgoing.send_apart(fd, train));
        assert_eq!(failed.sum::<usize>(), 0);
    });
    let mut buffer = [0; 128];
    for i in 0..8_u8 {
        assert_eq!(client.recv(&mut buffer).ok(), Some(80));
        assert_eq!(buffer[..80], [i; 80]);
    }
}

#[test]
fn an_oversized_datagram_is_longer_than_any_valid_one() {
    let (mut socket, client) = pair("127.0.0.1:0");
    client.send(&[b'T'; 9_000]).expect("sent");
    receive_all(&mut socket, 1, |socket, count| {
        if count == 1 {
            let (datagram, place) = socket.exchange(0);
            assert_eq!((datagram.len(), place.len()), (9_000, MAX_DATAGRAM));
        }
    });
}

#[test]
fn an_empty_socket_gives_an_empty_batch_at_once() {
    let (mut socket, _client) = pair("127.0.0.1:0");
    assert_eq!(socket.receive().expect("receives"), 0);
    assert_eq!((socket.next_batch(), socket.send()), (0, 0));
}

#[test]
fn overflow_of_the_receive_buffer_is_counted() {
    let (socket, client) = pair("127.0.0.1:0");
    let slots = socket.granted().expect("granted").receive_bytes / 256 + 1_000;
    for _ in 0..slots {
        client.send(&[0; 1_040]).expect("sent");
    }
    let backlog = socket.backlog().expect("told");
    assert!(
        backlog.drops > 0 && backlog.held_bytes > backlog.limit_bytes / 2,
        "{backlog:?}"
    );
}

#[test]
fn the_lane_byte_picks_the_shard() {
    let (group, bound, steering) = bind_group("127.0.0.1:0".parse().expect("address"), 3).expect("bound");
    if let Steering::Flow(reason) = &steering {
        eprintln!("skipped: this kernel does not steer by lane: {reason}");
        return;
    }
    assert_eq!(steering, Steering::Lane);
    let mut shards: Vec<_> = group.into_iter().map(BatchSocket::new).collect();
    let client = UdpSocket::bind("127.0.0.1:0").expect("bound");
    for lane in 0..30 {
        let mut datagram = [0; 48];
        datagram[6] = lane;
        client.send_to(&datagram, bound).expect("sent");
    }
    for (index, shard) in shards.iter_mut().enumerate() {
        receive_all(shard, 10, |shard, count| {
            for i in 0..count {
                assert_eq!(usize::from(shard.exchange(i).0[6]) % 3, index);
            }
        });
    }
}

#[test]
fn a_reply_finds_its_peer_batches_later() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut socket, client) = pair(address);
        let other = UdpSocket::bind((client.local_addr().expect("bound").ip(), 0)).expect("bound");
        other
            .connect(client.peer_addr().expect("connected"))
            .expect("connected");
        other
            .set_read_timeout(Some(Duration::from_secs(5)))
            .expect("timeout");
        let mut peers = Vec::new();
        for sender in [&client, &other] {
            sender.send(b"a question").expect("sent");
            receive_all(&mut socket, 1, |socket, count| {
                peers.extend((0..count).map(|i| socket.peer(i)));
            });
        }
        assert_ne!(peers[0], peers[1]);
        socket.clear();
        // A batch of nothing but late replies, as many as there are places.
        for i in 0..BATCH_MESSAGES {
            let index = socket.recall(&peers[i % 2]).expect("a place");
            let (datagram, reply) = socket.exchange(index);
            assert!(datagram.is_empty());
            reply[..2].copy_from_slice(&[b'0' + (i % 2) as u8, i as u8]);
            socket.queue(index, 2);
        }
        assert_eq!(socket.recall(&peers[0]), None, "every place is taken");
        assert_eq!(socket.send(), 0);
        let mut buffer = [0; 64];
        for i in 0..BATCH_MESSAGES {
            let receiver = [&client, &other][i % 2];
            let len = receiver.recv(&mut buffer).expect("answered");
            assert_eq!(buffer[..len], [b'0' + (i % 2) as u8, i as u8]);
        }
        // The addresses that come next are read in full again.
        other.send(b"again").expect("sent");
        receive_all(&mut socket, 1, |socket, count| {
            if count == 1 {
                assert_eq!(socket.peer(0), peers[1]);
            }
        });
    }
}

/// Sends datagrams of one length as a train.
pub(in crate::shard) fn send_train(client: &UdpSocket, bytes: &[u8], each: usize) {
    let control = {
        let mut control = [0_u8; 24];
        let header = libc::cmsghdr {
            cmsg_len: 18,
            cmsg_level: libc::SOL_UDP,
            cmsg_type: libc::UDP_SEGMENT,
        };
        control[..8].copy_from_slice(&header.cmsg_len.to_ne_bytes());
        control[8..12].copy_from_slice(&header.cmsg_level.to_ne_bytes());
        control[12..16].copy_from_slice(&header.cmsg_type.to_ne_bytes());
        control[16..18].copy_from_slice(&(each as u16).to_ne_bytes());
        control
    };
    let message = socket2::MsgHdr::new();
    let parts = [io::IoSlice::new(bytes)];
    let message = message.with_buffers(&parts).with_control(&control);
    let sent = socket2::SockRef::from(client).sendmsg(&message, 0).expect("sent");
    assert_eq!(sent, bytes.len());
}

/// Answers everything with itself.
fn echo(socket: &mut BatchSocket, count: usize) {
    for i in 0..count {
        let (datagram, reply) = socket.exchange(i);
        let len = datagram.len().min(reply.len());
        reply[..len].copy_from_slice(&datagram[..len]);
        if len > 0 {
            socket.queue(i, len);
        }
    }
    assert_eq!(socket.send(), 0);
}

#[test]
fn a_train_is_taken_apart_whatever_its_last_datagram_and_its_length() {
    for address in ["127.0.0.1:0", "[::1]:0"] {
        let (mut socket, client) = pair(address);
        for (datagrams, each, last) in [(2, 80, 80), (64, 80, 48), (40, 1_040, 1_040), (62, 1_040, 80)] {
            let mut bytes = Vec::new();
            for i in 0..datagrams {
                bytes.extend(vec![i as u8; if i + 1 == datagrams { last } else { each }]);
            }
            send_train(&client, &bytes, each);
            let mut joined = 0;
            receive_all(&mut socket, datagrams, |socket, count| {
                joined += socket.joined();
                echo(socket, count);
            });
            assert!(
                joined == datagrams || joined == 0,
                "joined, or this kernel cannot: {joined}"
            );
            let mut buffer = [0; 2_000];
            let mut seen = Vec::new();
            for _ in 0..datagrams {
                let len = client.recv(&mut buffer).expect("answered");
                let i = buffer[0];
                let expected = if usize::from(i) + 1 == datagrams {
                    last
                } else {
                    each
                };
                assert_eq!(buffer[..len], vec![i; expected], "datagram {i} of {datagrams}");
                seen.push(i);
            }
            seen.sort_unstable();
            assert_eq!(seen, (0..datagrams as u8).collect::<Vec<_>>());
        }
    }
}

#[test]
fn replies_to_a_train_leave_as_one_piece() {
    let (mut socket, client) = pair("127.0.0.1:0");
    if !socket.granted().expect("granted").joins {
        eprintln!("skipped: this kernel does not join datagrams");
        return;
    }
    send_train(&client, &[7; 20 * 112], 112);
    receive_all(&mut socket, 20, |socket, count| {
        if count > 0 {
            echo(socket, count);
            assert_eq!((socket.outgoing.trains(), socket.outgoing.parts(0)), (1, 1));
        }
    });
}

#[test]
fn trains_share_a_batch_only_if_both_fit_it_whole() {
    let (mut socket, client) = pair("127.0.0.1:0");
    if !socket.granted().expect("granted").joins {
        eprintln!("skipped: this kernel does not join datagrams");
        return;
    }
    for datagrams in [30, 30, 10, 60, 4] {
        send_train(&client, &vec![1; datagrams * 80], 80);
    }
    client.send(&[]).expect("sent");
    let mut batches = Vec::new();
    receive_all(&mut socket, 135, |_, count| batches.push(count));
    assert_eq!(batches, [60, 10, 64, 1]);
}

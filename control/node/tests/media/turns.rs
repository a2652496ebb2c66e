//! What changes in the course of a call: fax, hold, a phone that moves.

use crate::node::Node;
use crate::packet::{Media, hears_nothing, pass, port, rtp};
use crate::phone::{Call, Exchange, Phone, Side, sdp};

/// A packet from each phone to the other.
fn both_ways(media: [&Media; 2], exchange: &Exchange, packet: &[u8]) {
    let doors = [exchange.answered.door(0), exchange.offered.door(0)];
    pass(&media[0].rtp, doors[0], &media[1].rtp, doors[1], packet);
    pass(&media[1].rtp, doors[1], &media[0].rtp, doors[0], packet);
}

/// T.38 (RFC 3362, ITU-T T.38 D.2.2.4): a re-INVITE turns audio into fax on the same m= line, another
/// one turns it back. UDPTL is no RTP, and passes as it is.
#[test]
fn audio_turns_into_fax_and_back() {
    let node = Node::start("");
    let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
    let (near, far) = (Media::new(), Media::new());
    let (mut call, first) = Call::new(&phones[0], &phones[1], &near.audio(), &far.audio());
    both_ways([&near, &far], &first, &rtp(0, 1, 1));

    let fax = |media: &Media| {
        sdp(&format!(
            "m=image {} udptl t38\r\na=T38FaxVersion:0\r\na=T38MaxBitRate:14400\r\n\
             a=T38FaxRateManagement:transferredTCF\r\na=T38FaxUdpEC:t38UDPRedundancy\r\n",
            port(&media.rtp)
        ))
    };
    let faxing = call.renew(Side::Callee, &fax(&far), &fax(&near));
    // The callee offered: its answer holds the door of the caller's leg.
    let doors = [faxing.offered.door(0), faxing.answered.door(0)];
    assert_eq!(doors, [first.answered.door(0), first.offered.door(0)], "the ports stay");
    for sequence in 0..20_u8 {
        let udptl = [0, sequence, 1, 6, 0, 0];
        pass(&near.rtp, doors[0], &far.rtp, doors[1], &udptl);
        pass(&far.rtp, doors[1], &near.rtp, doors[0], &udptl);
    }

    let back = call.renew(Side::Caller, &near.audio(), &far.audio());
    both_ways([&near, &far], &back, &rtp(0, 1, 2));
    let media = node.media_of(&call.hang_up());
    assert_eq!(media, "caller 22p/0 lost, callee 22p/0 lost");
}

/// The other way to fax (T.38 D.2.2.4.1): a m= line of its own, while that of the audio is closed.
#[test]
fn fax_comes_on_a_stream_of_its_own_while_audio_is_closed() {
    let node = Node::start("");
    let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
    let (near, far, fax) = (Media::new(), Media::new(), [Media::new(), Media::new()]);
    let (mut call, first) = Call::new(&phones[0], &phones[1], &near.audio(), &far.audio());
    both_ways([&near, &far], &first, &rtp(0, 1, 1));
    let faxing = |media: &Media| {
        sdp(&format!("m=audio 0 RTP/AVP 0\r\nm=image {} udptl t38\r\n", port(&media.rtp)))
    };
    let exchange = call.renew(Side::Caller, &faxing(&fax[0]), &faxing(&fax[1]));
    assert_eq!([exchange.offered.media_port(0), exchange.answered.media_port(0)], [0, 0]);
    let doors = [exchange.answered.door(1), exchange.offered.door(1)];
    for sequence in 0..5_u8 {
        let udptl = [0, sequence, 1, 6, 0, 0];
        pass(&fax[0].rtp, doors[0], &fax[1].rtp, doors[1], &udptl);
        pass(&fax[1].rtp, doors[1], &fax[0].rtp, doors[0], &udptl);
    }
    let media = node.media_of(&call.hang_up());
    assert_eq!(media, "caller 1p/0 lost, callee 1p/0 lost; caller 5p/0 lost, callee 5p/0 lost");
}

/// RFC 3264 8.4: hold by direction and by address; either way the call goes on where it was.
#[test]
fn a_held_call_goes_on_with_the_same_ports_and_its_silence_is_nobodys_fault() {
    let node = Node::start("");
    let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
    let (near, far) = (Media::new(), Media::new());
    let (mut call, first) = Call::new(&phones[0], &phones[1], &near.audio(), &far.audio());
    both_ways([&near, &far], &first, &rtp(0, 1, 1));

    // Music: the phone that holds goes on sending.
    let music = near.audio() + "a=sendonly\r\n";
    let held = call.renew(Side::Caller, &music, &(far.audio() + "a=recvonly\r\n"));
    assert!(held.offered.body().contains("a=sendonly"));
    let doors = [first.answered.door(0), first.offered.door(0)];
    pass(&near.rtp, doors[0], &far.rtp, doors[1], &rtp(0, 1, 2));

    // By address: nothing is sent to the phone that holds.
    let silent = near.audio().replace("c=IN IP4 127.0.0.1", "c=IN IP4 0.0.0.0");
    let held = call.renew(Side::Caller, &silent, &far.audio());
    assert!(held.offered.body().contains("c=IN IP4 0.0.0.0"));
    far.rtp.send_to(&rtp(0, 1, 2), doors[1]).expect("it is sent");
    hears_nothing(&near.rtp);

    let resumed = call.renew(Side::Caller, &near.audio(), &far.audio());
    assert_eq!([resumed.answered.door(0), resumed.offered.door(0)], doors);
    both_ways([&near, &far], &resumed, &rtp(0, 1, 3));
    let held = call.renew(Side::Caller, &(near.audio() + "a=inactive\r\n"), &far.audio());
    assert!(held.offered.body().contains("a=inactive"));
    let media = node.media_of(&call.hang_up());
    assert_eq!(media, "caller 3p/0 lost, callee 2p/0 lost");
}

/// A call that was never spoken in and ends on hold has no silent direction to name.
#[test]
fn a_call_that_ends_on_hold_is_not_one_way() {
    let node = Node::start("");
    let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
    let (near, far) = (Media::new(), Media::new());
    let (mut call, _) = Call::new(&phones[0], &phones[1], &near.audio(), &far.audio());
    call.renew(Side::Callee, &(far.audio() + "a=inactive\r\n"), &near.audio());
    let media = node.media_of(&call.hang_up());
    assert_eq!(media, "caller 0p/0 lost, callee 0p/0 lost");
}

/// RFC 3264 8.3.1: a re-INVITE names another address; media follows it both ways, the other phone
/// notices nothing, and whoever has the old address now is a stranger.
#[test]
fn media_follows_a_phone_that_moves() {
    let node = Node::start("");
    let phones = ["alice", "bob"].map(|name| Phone::new(&node, name));
    let (near, far, elsewhere) = (Media::new(), Media::new(), Media::new());
    let (mut call, first) = Call::new(&phones[0], &phones[1], &near.audio(), &far.audio());
    both_ways([&near, &far], &first, &rtp(0, 1, 1));
    let moved = call.renew(Side::Caller, &elsewhere.audio(), &far.audio());
    assert_eq!(moved.offered.door(0), first.offered.door(0));
    both_ways([&elsewhere, &far], &moved, &rtp(0, 1, 2));
    let report = [0x80, 201, 0, 1, 0, 0, 0, 1];
    let doors = [moved.answered.rtcp_door(0), moved.offered.rtcp_door(0)];
    pass(&elsewhere.rtcp, doors[0], &far.rtcp, doors[1], &report);
    pass(&far.rtcp, doors[1], &elsewhere.rtcp, doors[0], &report);

    near.rtp.send_to(&rtp(0, 1, 3), first.answered.door(0)).expect("it is sent");
    hears_nothing(&far.rtp);
    hears_nothing(&near.rtp);
    // The callee moves, too.
    let further = Media::new();
    let moved = call.renew(Side::Callee, &further.audio(), &elsewhere.audio());
    let turned = Exchange { offered: moved.answered, answered: moved.offered };
    both_ways([&elsewhere, &further], &turned, &rtp(0, 1, 3));
    let media = node.media_of(&call.hang_up());
    assert_eq!(media, "caller 3p/0 lost, callee 3p/0 lost");
}

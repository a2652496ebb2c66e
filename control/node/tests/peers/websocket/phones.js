// Two browsers' SIP stacks (JsSIP), one over WebSocket and one over its secure form (RFC 7118): they register,
// send each other messages and watch each other. Each step that has come about is a line on the standard output.
//
//   node phones.js WS-URI WSS-URI DOMAIN ALICES-PASSWORD BOBS-PASSWORD
'use strict';

globalThis.WebSocket = require('ws');
const JsSIP = require('jssip');

const [ws, wss, domain, alicesPassword, bobsPassword] = process.argv.slice(2);
const LIMIT_MS = 8000;

setTimeout(() => fail('it took too long'), LIMIT_MS).unref();

function fail(why) {
    console.log(`failed: ${why}`);
    process.exit(1);
}

function phone(name, uri, password) {
    return new JsSIP.UA({
        sockets: [new JsSIP.WebSocketInterface(uri)],
        uri: `sip:${name}@${domain}`,
        password,
        register_expires: 300,
        session_timers: false,
    });
}

// The next event of this name.
function once(emitter, name, failure) {
    return new Promise((resolve, reject) => {
        emitter.once(name, (...values) => resolve(values));
        if (failure) emitter.once(failure, (event) => reject(new Error(`${failure}: ${event?.cause ?? event}`)));
    });
}

function start(ua) {
    const registered = once(ua, 'registered', 'registrationFailed');
    ua.start();
    return registered;
}

async function message(from, to, name, text) {
    const arrives = new Promise((resolve) => {
        to.on('newMessage', ({ originator, request }) => originator === 'remote' && resolve(request.body));
    });
    const accepted = new Promise((resolve, reject) => {
        from.sendMessage(`sip:${name}@${domain}`, text, {
            eventHandlers: { succeeded: resolve, failed: (event) => reject(new Error(`MESSAGE: ${event.cause}`)) },
        });
    });
    const [got] = await Promise.all([arrives, accepted]);
    if (got !== text) throw new Error(`${name} was told ${got}`);
}

// The body of the first notification that has one.
function watch(from, name, event, accept) {
    return new Promise((resolve, reject) => {
        const subscriber = from.subscribe(`sip:${name}@${domain}`, event, accept, {
            expires: 300,
            contentType: 'text/plain',
        });
        subscriber.on('notify', (isFinal, request, body) => body && resolve(body));
        subscriber.on('terminated', (code, reason) => reject(new Error(`${event} ended: ${code} ${reason}`)));
        subscriber.subscribe();
    });
}

async function main() {
    const mallory = phone('alice', ws, `not ${alicesPassword}`);
    const [{ response }] = await new Promise((resolve) => {
        mallory.once('registrationFailed', (...values) => resolve(values));
        mallory.start();
    });
    console.log(`stranger refused ${response.status_code}`);
    mallory.stop();

    const [alice, bob] = [phone('alice', ws, alicesPassword), phone('bob', wss, bobsPassword)];
    await Promise.all([start(alice), start(bob)]);
    console.log('registered');

    await message(alice, bob, 'bob', 'hello bob');
    await message(bob, alice, 'alice', 'hello alice');
    console.log('messages');

    // A package that the node knows nothing of: the phone itself is asked.
    bob.on('newSubscribe', ({ request }) => {
        const notifier = bob.notify(request, 'text/plain', { pending: false });
        notifier.on('subscribe', () => notifier.notify('sunny'));
        notifier.start();
    });
    const weather = await watch(alice, 'bob', 'weather', 'text/plain');
    if (weather !== 'sunny') throw new Error(`the weather is ${weather}`);
    console.log('watched a phone');

    const presence = await watch(alice, 'bob', 'presence', 'application/pidf+xml');
    if (!presence.includes(`bob@${domain}`)) throw new Error(`bob's presence is ${presence}`);
    console.log('watched by the node');

    const gone = Promise.all([once(alice, 'unregistered'), once(bob, 'unregistered')]);
    alice.unregister();
    bob.unregister();
    await gone;
    console.log('unregistered');
    process.exit(0);
}

main().catch((error) => fail(error.stack));

mod bencode;
mod calls;
mod commands;
mod descriptions;
mod harness;
mod random;

#!/bin/sh
# dsr: what a host with Solaris or illumos does that serves {{vips}} beside the members (Ringfarm itself runs on Linux), as root.
# Made by: ringfarm lb render dsr --for solaris
#
# The host and the balancer are in one network segment, no router between them: packets are handed on by MAC address.
set -e

# Since Solaris 11, and on illumos; it lasts.
%each family
ipadm create-addr -T static -a {{vip}}/{{bits}} lo0/ringfarm{{n}}
%end
%if has_v4

# Solaris 10 and older:
#   ifconfig lo0:1 plumb
#   ifconfig lo0:1 {{vip4}} netmask 255.255.255.255 up
# and to make it last, the address alone in a file:
#   echo {{vip4}} > /etc/hostname.lo0:1
%end

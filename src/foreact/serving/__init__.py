"""The policy server: many robots' sessions on one policy, over websockets. No robot can hurt another."""

"""A robot on ROS 2 topics, driven by a foreact policy server. Only `node` knows rclpy; nothing here knows torch."""

"""The whole service under trouble for minutes: killed, flooded, dripped on, out of disk, and asked all the while."""

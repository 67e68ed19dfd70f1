"""What is trained, where and when: workers, the queue, and what recipes take."""

"""What is measured: each module has works, and each work its contenders."""

"""Operations on an encoder's parts: freezing, parameter groups, cutting and narrowing."""
